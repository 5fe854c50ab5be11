"""What the benchmarks share: the machine in words, seconds of a child process, slopes of powers. Imports no torch."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import re
import resource
import subprocess
from collections.abc import Sequence
from pathlib import Path
from statistics import mean


def machine() -> str:
    """Processor, cores that this process may use, versions."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.*)", info.read_text()) if info.exists() else None
    name = found[1].strip() if found else platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores, Python {platform.python_version()}, torch {importlib.metadata.version('torch')}"


def cpu_seconds_of(command: Sequence[str], **settings: str) -> float:
    """Runs a command, with settings added to its environment: seconds of processor time, its own children included."""
    before = cpu_seconds_of_children()
    subprocess.run(command, check=True, env={**os.environ, **settings})
    return cpu_seconds_of_children() - before


def cpu_seconds_of_children() -> float:
    """Of all processes that this one started, and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """b of the least-squares fit cost = a size^b: the slope of log cost on log size."""
    x, y = [math.log(size) for size in sizes], [math.log(cost) for cost in costs]
    x_mean, y_mean = mean(x), mean(y)
    spread = sum((a - x_mean) ** 2 for a in x)
    return sum((a - x_mean) * (b - y_mean) for a, b in zip(x, y, strict=True)) / spread

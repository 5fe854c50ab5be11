"""Compiled C code for attention while sampling and for rotary embedding, a third of a small model's step in torch.

It is compiled once for each kind of processor and kept in the user's cache directory. torch is used instead without a C
compiler, with `OVEROPT_NATIVE=0`, on a GPU, and with several threads, since this code uses one.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch

SOURCE = Path(__file__).with_name("native.c")
FLAGS = ("-O3", "-march=native", "-ffast-math", "-fPIC")
SECONDS = 60
"""A compiler that runs longer is taken to hang."""


def available(device: torch.device) -> bool:
    """Whether the compiled code is used on this device with the present number of threads."""
    return device.type == "cpu" and torch.get_num_threads() == 1 and library() is not None


@functools.cache
def library() -> ctypes.CDLL | None:
    """The functions of `native.c`, compiled now or earlier; None if that is impossible."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None or os.name != "posix" or os.environ.get("OVEROPT_NATIVE") == "0":
        return None
    source = SOURCE.read_bytes()
    try:
        return _load(_compiled(compiler, _folder(), hashlib.sha256(source + _processor()).hexdigest()[:16]))
    except (OSError, subprocess.SubprocessError, AttributeError):
        return None


def _folder() -> Path:
    """A cache folder that only the user can write to, or a temporary one for this process."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "overopt"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if status.st_uid == os.getuid() and not status.st_mode & 0o022 and os.access(folder, os.W_OK):
            return folder
    except (OSError, RuntimeError):  # RuntimeError: a user without a home, as in containers
        pass
    folder = Path(tempfile.mkdtemp(prefix="overopt-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _processor() -> bytes:
    """What `-march=native` depends on, so that machines of several kinds can share a home directory."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return f"{platform.machine()} {flags} {FLAGS}".encode()


def _compiled(compiler: str, folder: Path, key: str) -> Path:
    file = folder / f"native-{key}.so"
    if not file.is_file():
        with tempfile.TemporaryDirectory(dir=folder) as place:
            made, linked = f"{place}/native.o", Path(place) / "native.so"
            # In two steps: linking with -ffast-math would flush subnormal numbers to 0 in the whole process.
            for command in ([*FLAGS, "-c", "-o", made, str(SOURCE)], ["-shared", "-o", str(linked), made, "-lm"]):
                subprocess.run([compiler, *command], check=True, capture_output=True, timeout=SECONDS)
            linked.replace(file)  # atomic, since several processes may compile at once
    return file


def _load(file: Path) -> ctypes.CDLL:
    functions = ctypes.CDLL(str(file))
    place, number = ctypes.c_void_p, ctypes.c_long
    strided: list[Any] = [place, number, number]
    functions.rotate.argtypes = [*[place] * 3, *[number] * 4]
    functions.decode_attention.argtypes = [*strided * 3, *[place] * 8, *[number] * 8, ctypes.c_float]
    functions.rotate.restype = functions.decode_attention.restype = None
    return functions

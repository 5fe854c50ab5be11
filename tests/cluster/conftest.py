"""A sweep of four short runs, what a sweep without a cluster leaves of it, and clusters of several nodes, all here."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import tiny
import yaml
from ray.cluster_utils import Cluster

from faults import left_behind
from overopt.records import load_run

UPDATES = 40

SWEEP: dict[str, Any] = {
    "grid": {"kl": {"regularizers.0.coef": [0.05, 0.2]}},
    "defaults": {"*": tiny.SHARED | {"checkpoint_every": 5}},
    "runs": {
        "sft": {
            "stage": "sft",
            "model": tiny.MODEL,
            "lr": 2e-2,
            "steps": 60,
            "batch_size": 16,
            "loss_on_prompt": False,
            "checkpoint_every": 60,
        },
        "reward_model": {
            "stage": "reward_model",
            "policy": "runs/sft",
            "pairs": {"name": "sampled", "count": 64},
            "lr": 1e-2,
            "batch_size": 16,
            "normalization": "standardize",
        },
        "kl": {
            "stage": "online",
            "policy": "runs/sft",
            "reward_model": "runs/reward_model",
            "lr": 1e-3,
            "total_episodes": 8 * UPDATES,
            "episodes_per_update": 8,
            "samples_per_prompt": 2,
            "regularizers": [{"name": "kl", "coef": 0.05}],
        },
    },
}
"""SFT, a reward model, and two online runs."""

OVEROPT = [sys.executable, "-c", "import sys; from overopt.cli import main; sys.exit(main())"]


@dataclass
class Sweep:
    """The command, in a process group of its own."""

    file: Path
    out: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *flags: str) -> subprocess.Popen[str]:
        command = [*OVEROPT, "sweep", str(self.file), "--out", str(self.out), *flags]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.processes.append(subprocess.Popen(command, text=True, start_new_session=True, **pipes))  # type: ignore[call-overload]
        return self.processes[-1]

    def finish(self, process: subprocess.Popen[str], seconds: float = 240.0) -> tuple[str, str]:
        """What it printed, after it has ended well."""
        said, log = process.communicate(timeout=seconds)
        assert process.returncode == 0, log
        return said, log

    def run(self, *flags: str) -> tuple[str, str]:
        return self.finish(self.start(*flags))

    def stop(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def under_way(self) -> list[str]:
        """Online runs that have made some steps, but not all."""
        return [run.name for run in self.out.glob("runs/kl-*") if 8 <= steps(run) <= UPDATES - 12]

    @property
    def records(self) -> dict[str, dict[str, str]]:
        """Hashes of all that a run left but `run.json`, which says where its parents lie."""
        found = {run.name: left_behind(run) for run in sorted(self.out.glob("runs/*/"))}
        return {run: {file: hash for file, hash in files.items() if file != "run.json"} for run, files in found.items()}

    def resumes(self) -> int:
        return sum(len(load_run(run).info["resumes"]) for run in self.out.glob("runs/*/"))


def steps(run: Path) -> int:
    file = run / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def wait_for(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    """What the condition says once that is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)
    return found


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """The sweep without a cluster."""
    folder = tmp_path_factory.mktemp("local")
    file = folder / "sweep.yaml"
    file.write_text(yaml.safe_dump(SWEEP, sort_keys=False))
    sweep = Sweep(file, folder / "out")
    sweep.run("--workers", "2")
    return sweep


@pytest.fixture
def sweep(local: Sweep, tmp_path: Path) -> Iterator[Sweep]:
    """The same sweep in another folder."""
    sweep = Sweep(local.file, tmp_path / "out")
    yield sweep
    sweep.stop()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A head on which nothing runs but the mailbox, and a node with room for two runs; so a test must leave it."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **SMALL})
    add_node(cluster)
    yield cluster
    cluster.shutdown()


def add_node(cluster: Cluster) -> None:
    """Another node with room for two runs; its own address keeps the command, which runs at the head's, off it."""
    cluster.add_node(num_cpus=2, node_ip_address=f"127.0.0.{next(NUMBERS)}", **SMALL)


NUMBERS = itertools.count(2)
SMALL = {"object_store_memory": 80 << 20, "include_dashboard": False}

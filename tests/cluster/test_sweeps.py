"""Sweeps through a Ray cluster of several nodes, all on this machine: `make test-ray`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from ray.cluster_utils import Cluster

from .conftest import OVEROPT, Sweep, add_node, wait_for


def tasks() -> dict[int, str]:
    """The processes in which a Ray task of ours is running, with the task's name."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            title = file.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if match := re.match(r"ray::overopt (\S+)", title):
            found[int(file.parent.name)] = match[1]
    return found


def test_the_records_are_those_of_a_sweep_without_a_cluster(local: Sweep, sweep: Sweep, cluster: Cluster) -> None:
    said, log = sweep.run("--ray", cluster.address)
    assert sweep.records == local.records and len(local.records) == 4
    assert "4 finished" in said
    assert "4 runs, 2 at a time; 4 to do" in log
    order = re.findall(r"(started|finished) (\S+)", log)
    assert order[:4] == [(what, run) for run in ("sft", "reward_model") for what in ("started", "finished")]
    again, log = sweep.run("--ray", cluster.address)
    assert "4 finished" in again and log.count("finished already, left alone") == 4
    assert not list(sweep.out.rglob(".cluster"))


def test_a_node_goes_away_under_runs_and_another_comes(local: Sweep, sweep: Sweep, cluster: Cluster) -> None:
    node = next(iter(cluster.worker_nodes))
    command = sweep.start("--ray", cluster.address)
    wait_for(sweep.under_way)
    cluster.remove_node(node, allow_graceful=False)
    add_node(cluster)
    _, log = sweep.finish(command)
    assert "lost, and is tried again: its machine left the cluster" in log or "its worker process ended" in log
    assert sweep.resumes() >= 1
    assert sweep.records == local.records


def test_a_worker_is_killed(local: Sweep, sweep: Sweep, cluster: Cluster) -> None:
    command = sweep.start("--ray", cluster.address)
    run = wait_for(sweep.under_way)[0]
    os.kill(next(pid for pid, name in tasks().items() if name == run), signal.SIGKILL)
    _, log = sweep.finish(command)
    assert f"{run}: lost, and is tried again: its worker process ended" in log
    assert sweep.resumes() == 1
    assert sweep.records == local.records


def test_the_command_is_killed_and_given_again(local: Sweep, sweep: Sweep, cluster: Cluster) -> None:
    command = sweep.start("--ray", cluster.address)
    wait_for(sweep.under_way)
    os.killpg(command.pid, signal.SIGKILL)
    sweep.run("--ray", cluster.address)  # at once: the tasks of the first may not have ended yet
    assert sweep.resumes() >= 1
    assert sweep.records == local.records


def test_ctrl_c_keeps_the_step_at_hand(local: Sweep, sweep: Sweep, cluster: Cluster) -> None:
    command = sweep.start("--ray", cluster.address)
    wait_for(sweep.under_way)
    os.killpg(command.pid, signal.SIGINT)
    _, log = command.communicate(timeout=60)
    assert command.returncode == 130
    assert log.splitlines()[-1] == "overopt: interrupted; give the same command again to continue"
    assert not tasks()
    kept = [run for run in sweep.out.glob("runs/kl-*") if (run / "trainer").is_dir()]
    assert kept
    sweep.run("--ray", cluster.address)
    assert sweep.records == local.records


def test_an_address_without_a_cluster(sweep: Sweep) -> None:
    command = sweep.start("--ray", "127.0.0.1:9")
    _, log = command.communicate(timeout=120)
    assert command.returncode == 2
    assert "overopt: --ray 127.0.0.1:9: no connection to a Ray cluster" in log
    assert not sweep.out.exists()


def test_without_the_flag_nothing_of_ray_is_imported(sweep: Sweep, local: Sweep) -> None:
    sweep.out.mkdir()
    program = OVEROPT[-1].replace("sys.exit(main())", "code = main(); assert 'ray' not in sys.modules; sys.exit(code)")
    command = ["sweep", str(local.file), "--out", str(sweep.out), "--only", "sft", "--workers", "1"]
    assert subprocess.run([sys.executable, "-c", program, *command]).returncode == 0

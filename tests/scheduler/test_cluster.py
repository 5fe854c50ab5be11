"""The executor over a stand-in for Ray; `make test-ray` runs it over clusters of the real one."""

from __future__ import annotations

import ast
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fake_ray import FakeRay

from overopt.errors import UserError
from overopt.scheduler import cluster as module
from overopt.scheduler import executor_for, run_jobs
from overopt.scheduler.cluster import RayCluster
from overopt.scheduler.jobs import Event, Failed, Finished, Job, Noticed, Progressed, Result, Skipped, Started
from overopt.scheduler.schedule import LOSSES

TRAIN = "fake_stages:train"


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    ray = FakeRay({"CPU": 2.0}, {"CPU": 5.0, "GPU": 1.0})
    ray.install(monkeypatch)
    return ray


def job(folder: Path, name: str, parents: tuple[str, ...] = (), resources: Any = None, **config: Any) -> Job:
    return Job(name, config, folder / name, parents, resources=resources or {"CPU": 1.0})


def run(jobs: list[Job], workers: int | None = None, **options: Any) -> tuple[dict[str, Result], list[Event]]:
    events: list[Event] = []
    executor = executor_for(jobs, workers, train=TRAIN, cluster="auto")
    return run_jobs(jobs, executor=executor, on_event=events.append, **options), events


def test_jobs_run_after_their_parents_and_report_as_those_of_this_machine(ray: FakeRay, tmp_path: Path) -> None:
    results, events = run([
        job(tmp_path, "child", ("parent",)), job(tmp_path, "parent"), job(tmp_path, "refused", do="refuse"),
        job(tmp_path, "orphan", ("refused",)),
    ])  # fmt: skip
    assert [result.status for result in results.values()] == ["finished", "finished", "failed", "skipped"]
    told: dict[str, list[type]] = {name: [] for name in results}
    for event in events:
        told[event.job].append(type(event))
    assert told["child"] == told["parent"] == [Started, Progressed, Finished]
    assert (told["refused"], told["orphan"]) == ([Started, Failed], [Skipped])
    ended = [event.job for event in events if isinstance(event, Finished)]
    assert ended == ["parent", "child"]
    assert Failed("refused", "lr: expected a number") in events
    assert not ray.up and not (tmp_path / module.MARKER).exists()


def test_a_task_asks_for_its_resources_and_gets_the_threads_of_a_local_worker(ray: FakeRay, tmp_path: Path) -> None:
    needs = {"CPU": 4.0, "GPU": 0.5, "memory": 2e9, "a100": 1.0}
    run([job(tmp_path, "a", resources=needs), job(tmp_path, "b", resources={"CPU": 1.0})])
    mailbox, task, other = ray.options
    assert mailbox == {"num_cpus": 0, "scheduling_strategy": ("here", True), "max_task_retries": -1}
    environment = task.pop("runtime_env")["env_vars"]
    assert "CUDA_VISIBLE_DEVICES" not in environment, "Ray sets it"
    assert other["runtime_env"]["env_vars"] == environment | {"CUDA_VISIBLE_DEVICES": ""}
    assert (environment["OMP_NUM_THREADS"], environment["MKL_NUM_THREADS"]) == ("1", "1")
    assert task == {
        "name": "overopt a", "num_cpus": 4.0, "num_gpus": 0.5, "memory": 2_000_000_000, "resources": {"a100": 1.0},
        "max_retries": 0,
    }  # fmt: skip
    assert ray.given == {"address": "auto", "log_to_driver": False, "logging_level": "ERROR"}


def test_the_room_is_that_of_the_living_machines(ray: FakeRay, tmp_path: Path) -> None:
    def at_a_time(workers: int | None, *needs: dict[str, float]) -> int:
        jobs = [job(tmp_path, str(place), resources=need) for place, need in enumerate(needs)]
        return executor_for(jobs, workers, train=TRAIN, cluster="auto").count

    one, two = {"CPU": 1.0}, {"CPU": 2.0}
    assert at_a_time(None, *[one] * 20) == 7
    assert at_a_time(None, *[one] * 3) == 3
    assert at_a_time(None, *[one] * 19, two) == 1 + 2, "of the largest"
    assert at_a_time(2, *[one] * 20) == 2
    assert at_a_time(None, *[{"CPU": 1.0, "GPU": 0.5}] * 20) == 2
    assert at_a_time(None, {"GPU": 2.0}) == 1, "a cluster may grow"


def test_a_limit_leaves_jobs_waiting_and_without_one_ray_queues_them(ray: FakeRay, tmp_path: Path) -> None:
    jobs = [job(tmp_path, name, seconds=0.1) for name in "abcd"]
    for workers, most in ((2, 2), (None, 4)):
        executor = RayCluster("auto", jobs, workers, 1, TRAIN)
        for one in jobs[:most]:
            assert executor.has_room
            executor.start(one)
        assert (executor.has_room, executor.is_busy) == (False, True)
        executor.stop()


@pytest.mark.parametrize("kind", ["WorkerCrashedError", "NodeDiedError", "ObjectLostError", "LocalRayletDiedError"])
def test_what_is_lost_is_tried_again(kind: str, ray: FakeRay, tmp_path: Path) -> None:
    results, events = run([job(tmp_path, "a", die=kind, times=1), job(tmp_path, "b", ("a",))])
    assert {result.status for result in results.values()} == {"finished"}
    why = "its worker process ended" if kind == "WorkerCrashedError" else "its machine left the cluster"
    assert Noticed("a", f"lost, and is tried again: {why}") in events


def test_what_is_lost_again_and_again_has_failed(ray: FakeRay, tmp_path: Path) -> None:
    results, events = run([job(tmp_path, "a", die="WorkerCrashedError"), job(tmp_path, "b", ("a",))], retries=3)
    assert results["a"] == Result("failed", f"its worker process ended; lost {LOSSES + 1} times", "")
    assert results["b"].status == "skipped"
    assert sum(isinstance(event, Noticed) for event in events) == LOSSES


@pytest.mark.parametrize(
    ("kind", "message", "traceback"),
    [
        ("OutOfMemoryError", "its machine ran out of memory: one", ""),
        ("RayTaskError", "ModuleNotFoundError: No module named 'overopt'", "a traceback"),
    ],
)
def test_other_deaths_are_failures(kind: str, message: str, traceback: str, ray: FakeRay, tmp_path: Path) -> None:
    results, _ = run([job(tmp_path, "a", die=kind)])
    assert results["a"] == Result("failed", message, traceback)


def test_events_of_a_task_that_is_given_up_are_dropped(ray: FakeRay, tmp_path: Path) -> None:
    executor = RayCluster("auto", [job(tmp_path, "a")], None, 1, TRAIN)
    executor.mailbox.put.remote(7, Finished("a", 1.0)).result()
    executor.start(job(tmp_path, "a"))
    events: list[Event] = []
    while executor.is_busy:
        events += executor.wait()
    assert [type(event) for event in events] == [Started, Progressed, Finished]
    executor.stop()


def test_a_need_that_no_machine_meets_is_told(ray: FakeRay, tmp_path: Path) -> None:
    _, events = run([job(tmp_path, "a", resources={"CPU": 1.0, "GPU": 2.0})])
    assert events[0] == Noticed("a", "waits for a machine that has CPU 1, GPU 2; the cluster has none now")


def test_a_caller_that_stops_cancels_what_runs(ray: FakeRay, tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        raise KeyboardInterrupt

    jobs = [job(tmp_path, "slow", do="hang")]
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_jobs(jobs, executor=executor_for(jobs, train=TRAIN, cluster="auto"), on_event=stop)
    assert len(ray.cancelled) == 1 and not ray.up and time.monotonic() - began < 10
    assert not (tmp_path / module.MARKER).exists()


def test_a_cluster_that_is_not_there(ray: FakeRay, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--ray none: no connection to a Ray cluster .ConnectionError: Could not find"):
        executor_for([job(tmp_path, "a")], cluster="none")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        executor_for([job(tmp_path, "a")], cluster=address)
    with pytest.raises(UserError, match=f"--ray {address}: no connection to a Ray cluster .ConnectionRefusedError: "):
        executor_for([job(tmp_path, "a")], cluster=address)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"--ray: needs the package ray .*pip install 'overopt\[ray\]'"):
        executor_for([job(tmp_path, "a")], cluster="auto")


def test_the_handler_of_sigterm_stays(ray: FakeRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(ray, "init", lambda **given: signal.signal(signal.SIGTERM, signal.SIG_IGN))
    executor_for([job(tmp_path, "a")], cluster="auto")
    assert signal.getsignal(signal.SIGTERM) == before


def test_ray_is_imported_in_functions_only_and_the_executor_with_an_address_only() -> None:
    folder = Path(module.__file__).parents[1]
    texts = {file: file.read_text(encoding="utf-8") for file in folder.rglob("*.py")}
    naming = {file: text for file, text in texts.items() if "import ray" in text or "scheduler.cluster" in text}
    assert len(naming) >= 3
    for file, text in naming.items():
        tree = ast.parse(text)
        top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module or "" for node in top if isinstance(node, ast.ImportFrom)}
        assert not {name for name in names if name.split(".")[0] == "ray" or name == "overopt.scheduler.cluster"}, file

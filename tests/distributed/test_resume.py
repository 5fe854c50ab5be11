"""Processes that are killed or asked to stop: the run goes on exactly, and in another number of processes, too."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
from joined import Ended, results, together
from tiny import Chain, Config

from overopt.engine import ranks
from overopt.records import Run, load_run
from overopt.training.run.started import StartedRun
from overopt.training.train import train

DIES = 2
"""The step, of three, at whose end something happens."""
Happens = Callable[[], None]


def silent(text: str) -> None:
    pass


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def asked_to_stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def interrupted(config: Config, out: Path, count: int, victims: set[int], what: Happens) -> list[Ended]:
    """A run in which something happens to some of its processes after a step was recorded and before it is kept."""

    def work() -> str:
        keep = StartedRun.keep

        def struck(self: StartedRun, step: int) -> None:
            if step == DIES and ranks.rank() in victims:
                what()
            keep(self, step)

        StartedRun.keep = struck  # type: ignore[method-assign]  # of this process, which is a fork
        return str(train(config, out, notice=silent).path)

    return together(count, work)


def trained(config: Config, out: Path, count: int) -> Run:
    if count == 1:
        return train(config, out, notice=silent)
    results(count, lambda: str(train(config, out, notice=silent).path))
    return load_run(out)


@pytest.fixture
def config(chain: Chain) -> Config:
    control = [{"name": "kl", "coef": {"name": "adaptive_kl", "target": 2.0}}]
    return tiny.online(chain, checkpoint_every=1, regularizers=control, advantage="running_baseline")


@pytest.mark.parametrize("victims", [{0}, {1}, {0, 1}], ids=["the main one", "another", "all"])
def test_killed_processes_and_an_exact_resume(config: Config, tmp_path: Path, victims: set[int]) -> None:
    whole = trained(config, tmp_path / "whole", 2)
    ended = interrupted(config, tmp_path / "killed", 2, victims, killed)
    assert any(one.signal == signal.SIGKILL for one in ended)
    cut = load_run(tmp_path / "killed")
    assert cut.status in ("running", "failed")  # the main process may have seen that its neighbor was gone
    again = trained(config, tmp_path / "killed", 2)
    assert [resume["step"] for resume in again.info["resumes"]] == [DIES - 1]
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        assert (again.path / name).read_bytes() == (whole.path / name).read_bytes()
    assert tiny.same_weights(again, whole)
    assert again.checkpoints() == whole.checkpoints()


@pytest.mark.parametrize("number", [0, 1])
def test_one_process_that_is_asked_to_stop_stops_all_after_the_step(
    config: Config, tmp_path: Path, number: int
) -> None:
    ended = interrupted(config, tmp_path / "stopped", 2, {number}, asked_to_stop)
    assert [type(one.error) for one in ended] == [SystemExit, SystemExit]
    assert load_run(tmp_path / "stopped").status == "interrupted"
    again = trained(config, tmp_path / "stopped", 2)
    assert [resume["step"] for resume in again.info["resumes"]] == [DIES]  # nothing was lost
    assert tiny.metrics(again) == tiny.metrics(trained(config, tmp_path / "whole", 2))


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 3), (3, 2)])
def test_a_run_goes_on_in_another_number_of_processes(config: Config, tmp_path: Path, before: int, after: int) -> None:
    interrupted(config, tmp_path / "run", before, set(range(before)), asked_to_stop)
    told: list[str] = []
    if after == 1:
        train(config, tmp_path / "run", notice=told.append)
        assert any(f"processes {before} then, 1 now" in text for text in told)
    else:
        trained(config, tmp_path / "run", after)
    again, alone = load_run(tmp_path / "run"), trained(config, tmp_path / "alone", 1)
    assert again.status == "finished"
    assert [resume["step"] for resume in again.info["resumes"]] == [DIES]
    for row, expected in zip(tiny.rows(again), tiny.rows(alone), strict=True):
        assert {name: value for name, value in row.items() if not tiny.close(value, expected[name], 2e-3)} == {}
    assert tiny.farthest(again, alone) < 2e-4


def test_what_one_process_finds_wrong_ends_all_with_its_words(config: Config, tmp_path: Path) -> None:
    trained(config, tmp_path / "run", 1)
    ended = together(2, lambda: train(config | {"lr": 2e-3}, tmp_path / "run", notice=silent))
    assert len({str(one.error) for one in ended}) == 1
    assert "holds a run of another configuration (lr: 0.001 there, 0.002 here)" in str(ended[1].error)


def test_a_finished_run_is_left_alone_by_all(config: Config, tmp_path: Path) -> None:
    before = tiny.metrics(trained(config, tmp_path / "run", 2))
    told = results(2, lambda: _told(config, tmp_path / "run"))
    assert [len(texts) for texts in told] == [1, 0]  # only the first process speaks
    assert "finished already, left alone" in told[0][0]
    assert tiny.metrics(load_run(tmp_path / "run")) == before


def _told(config: Config, out: Path) -> list[str]:
    texts: list[str] = []
    train(config, out, notice=texts.append)
    return texts

"""The writer of a process that does not write."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
from joined import results
from tiny import Chain

from overopt.records import RunWriter
from overopt.training.run.bystander import Bystander
from overopt.training.train import train


def test_it_takes_everything_and_writes_nothing(tmp_path: Path) -> None:
    writer = Bystander(tmp_path / "run")
    assert isinstance(writer, RunWriter)
    writer.update(status="running", token_budget=3)
    writer.write_pairs([{"prompt": "a"}])
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_of_two_processes_the_first_alone_writes(chain: Chain, tmp_path: Path) -> None:
    def work() -> list[str]:
        written: list[str] = []
        with pytest.MonkeyPatch.context() as patched:
            for name in ("log", "log_evaluation", "write_samples", "commit_state", "update", "finish", "write_pairs"):
                plain = getattr(RunWriter, name)
                patched.setattr(RunWriter, name, _noting(name, plain, written))
            train(tiny.reward_model(chain), tmp_path / "run", notice=lambda text: None)
        return sorted(set(written))

    first, second = results(2, work)
    assert first == ["commit_state", "finish", "log", "log_evaluation", "update", "write_pairs"]
    assert second == []


def _noting(name: str, plain: object, written: list[str]) -> object:
    def noted(self: RunWriter, *values: object, **more: object) -> object:
        written.append(name)
        return plain(self, *values, **more)  # type: ignore[operator]

    return noted

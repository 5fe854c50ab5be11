"""What a user reads of an error."""

from __future__ import annotations

import os

import pytest

from overopt.errors import ConfigError, DivergedError, UserError, say


def test_all_problems_of_a_config_are_in_its_message() -> None:
    error = ConfigError(text for text in ("a.yaml:1: lr", "--seed: x"))
    assert str(error) == "a.yaml:1: lr\n--seed: x"
    assert error.problems == ["a.yaml:1: lr", "--seed: x"]
    assert isinstance(error, UserError)


def test_a_diverged_run_says_at_which_step() -> None:
    error = DivergedError(7, "the loss is NaN")
    assert str(error) == "the loss is NaN at step 7"
    assert error.step == 7


def test_a_notice_that_nobody_can_read_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    stream = open(write, "w", buffering=1)  # noqa: SIM115 (closing it would raise)
    monkeypatch.setattr("sys.stderr", stream)
    say("one")
    with pytest.raises(BrokenPipeError):
        stream.close()

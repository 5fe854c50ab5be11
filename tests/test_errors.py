"""What a user reads of an error."""

from __future__ import annotations

from overopt.errors import ConfigError, DivergedError, UserError


def test_all_problems_of_a_config_are_in_its_message() -> None:
    error = ConfigError(text for text in ("a.yaml:1: lr", "--seed: x"))
    assert str(error) == "a.yaml:1: lr\n--seed: x"
    assert error.problems == ["a.yaml:1: lr", "--seed: x"]
    assert isinstance(error, UserError)


def test_a_diverged_run_says_at_which_step() -> None:
    error = DivergedError(7, "the loss is NaN")
    assert str(error) == "the loss is NaN at step 7"
    assert error.step == 7

from __future__ import annotations

import math
import signal
import threading

import pytest
import tiny
import torch

from overopt.errors import DivergedError
from overopt.training.run.stopping import Interrupts, check_metrics, check_weights


def test_outside_the_steps_a_signal_leaves_at_once() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as leaving, Interrupts():
        signal.raise_signal(signal.SIGTERM)
    assert leaving.value.code == 143
    with pytest.raises(KeyboardInterrupt), Interrupts():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_first_one_in_a_step_waits_for_its_end_and_the_second_does_not(capfd: pytest.CaptureFixture[str]) -> None:
    with Interrupts() as interrupts:
        interrupts.leave()  # nothing was heard
        interrupts.waiting = True
        signal.raise_signal(signal.SIGINT)
        assert interrupts.heard == signal.SIGINT
        assert "stopping after this step; Ctrl-C again leaves at once" in capfd.readouterr().err
        with pytest.raises(SystemExit):
            signal.raise_signal(signal.SIGTERM)
        assert interrupts.heard == signal.SIGTERM
        with pytest.raises(SystemExit):
            interrupts.leave()


def test_what_the_user_ignores_stays_ignored() -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            signal.raise_signal(signal.SIGINT)
            assert interrupts.heard is None
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_hears_nothing() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def listen() -> None:
        with Interrupts():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.parametrize("name", ["loss", "grad_norm", "kl_prev"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_end_a_run(name: str, value: float) -> None:
    check_metrics(1, {name: 1e30, "len_mean": math.nan})
    with pytest.raises(DivergedError, match=f"{name} is {value} at step 4"):
        check_metrics(4, {name: value})


def test_a_weight_that_is_not_finite_ends_a_run() -> None:
    policy = tiny.policy()
    check_weights(policy, 1)
    with torch.no_grad():
        policy.head.weight[0, 0] = math.inf
    with pytest.raises(DivergedError, match="a weight is not finite at step 2"):
        check_weights(policy, 2)

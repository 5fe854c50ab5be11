"""Code of the user's: what it raises, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from overopt.config.user_code import calling_user_code, guard_methods
from overopt.errors import DivergedError, StoppedError, UserError
from overopt.training.run.stopping import Interrupts

kept: list[Any] = []


def leave_everything(folder: Path) -> None:
    kept[:] = [torch.inference_mode()]
    kept[0].__enter__()
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_num_threads(torch.get_num_threads() + 1)
    torch.use_deterministic_algorithms(True)
    torch.set_float32_matmul_precision("medium")
    torch.set_autocast_enabled("cpu", True)


def state() -> list[Any]:
    return [
        *(os.getcwd(), signal.getsignal(signal.SIGINT), torch.is_grad_enabled(), torch.get_default_dtype()),
        *(torch.get_default_device(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()),
        *(torch.get_float32_matmul_precision(), torch.is_autocast_enabled("cpu"), torch.zeros(1).device),
        *(torch.is_inference_mode_enabled(), (torch.ones(1, requires_grad=True) * 2).requires_grad),
    ]


@pytest.mark.parametrize("fails", [False, True])
def test_what_it_leaves_behind_is_put_back(fails: bool, tmp_path: Path) -> None:
    before = state()
    try:
        with calling_user_code("mine:f"):
            leave_everything(tmp_path)
            assert not any(now == then for now, then in zip(state(), before, strict=True))
            if fails:
                raise ValueError("no")
    except UserError:
        assert fails
    assert state() == before


def test_random_streams_go_on(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first = torch.rand(1)
    with calling_user_code("mine:f"):
        torch.manual_seed(0)
    assert torch.rand(1) == first


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), StopIteration(), AssertionError(), BaseException()])
def test_whatever_is_raised_names_it(error: BaseException) -> None:
    line = f"{type(error).__name__}: {error}"
    with (
        pytest.raises(UserError, match=rf"^mine:f raised {line} \(.*test_user_code.py, line \d+\)$"),
        calling_user_code("mine:f"),
    ):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        *(KeyboardInterrupt(), UserError("as it is"), DivergedError(3, "loss"), StoppedError(1, "a", "b", 0)),
        *(
            MemoryError(),
            torch.OutOfMemoryError("CUDA out of memory"),
            RuntimeError("[...] can't allocate memory: ..."),
        ),
    ],
)
def test_what_others_wait_for_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised, calling_user_code("mine:f"):
        raise error
    assert raised.value is error


def test_a_second_signal_leaves_from_within() -> None:
    interrupts = Interrupts(heard=signal.SIGTERM)
    with pytest.raises(SystemExit) as left, calling_user_code("mine:f"):
        interrupts.leave()
    assert left.value.code == 143


def test_a_class_is_guarded_once_and_only_where_it_is_public() -> None:
    class Mine:
        def __call__(self, x: int) -> float:
            torch.set_grad_enabled(False)
            return self._inner(x)

        def _inner(self, x: int) -> float:
            return 1 / x

        @property
        def needs(self) -> int:
            return 3

    call = guard_methods(Mine).__call__
    assert guard_methods(Mine).__call__ is call  # type: ignore[comparison-overlap]
    assert Mine()(2) == 0.5 and torch.is_grad_enabled() and Mine().needs == 3
    with pytest.raises(UserError, match=r"test_user_code:.*Mine raised ZeroDivisionError: division by zero"):
        Mine()(0)


def test_a_generator_is_guarded_while_it_is_drawn_from() -> None:
    class Mine:
        def problems(self, past: int) -> Iterator[float]:
            torch.set_grad_enabled(False)
            yield 1.0
            yield 1 / past

    assert list(guard_methods(Mine)().problems(2)) == [1.0, 0.5]
    found = Mine().problems(0)
    assert next(found) == 1.0 and torch.is_grad_enabled()
    with pytest.raises(UserError, match=r"Mine raised ZeroDivisionError: division by zero \(.*test_user_code.py, line"):
        next(found)


def test_without_torch_nothing_of_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    with calling_user_code("mine:f"):
        pass
    assert "torch" not in sys.modules

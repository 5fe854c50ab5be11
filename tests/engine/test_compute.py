from __future__ import annotations

import pytest
import torch

from overopt.engine.compute import Compute
from overopt.errors import UserError


def test_threads_are_applied() -> None:
    before = torch.get_num_threads()
    try:
        assert Compute(device="cpu", threads=1).resolve() == torch.device("cpu")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_auto_takes_the_gpu_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for available, expected in [(True, "cuda"), (False, "cpu")]:
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert Compute().resolve().type == expected
        assert Compute(device="cpu").resolve().type == "cpu"


def test_an_absent_gpu_is_the_user_s_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="compute.device: cuda.*use auto or cpu"):
        Compute(device="cuda").resolve()


def test_precision_and_budget() -> None:
    assert not Compute().bf16 and Compute(precision="bf16").bf16
    assert Compute(token_budget=100).evaluation_budget == 400
    assert Compute().token_budget is None and Compute().budget == 16_384 and Compute().evaluation_budget == 65_536

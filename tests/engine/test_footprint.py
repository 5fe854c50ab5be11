from __future__ import annotations

import pytest
import torch
from torch import nn

from overopt.engine.footprint import peak_bytes


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_most_that_lives_at_a_time(device: str) -> None:
    before = torch.zeros(1000, device=device)

    def work() -> None:
        kept = before + 1  # 4000 bytes
        (kept * 2).sum()  # 4000 more, and 4; then they go
        kept.view(10, 100).t()  # views hold nothing of their own
        torch.empty(250, device=device)  # 1000

    assert peak_bytes(work) == 8004
    assert peak_bytes(lambda: before.view(10, 100).t()) == 0


def test_a_backward_pass_holds_activations_then_gradients() -> None:
    """100 rows of 10 through a map to 20 and ReLU: at the peak the results, their gradients, and the map's gradient."""
    with torch.device("meta"):
        linear, x = nn.Linear(10, 20, bias=False), torch.zeros(100, 10)

    def work() -> None:
        linear(x).relu().sum().backward()

    peak = peak_bytes(work)
    assert linear.weight.grad is not None
    mapped = 100 * 20 * 4
    assert 2 * mapped <= peak <= 2 * mapped + 20 * 10 * 4 + mapped

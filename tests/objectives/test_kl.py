from __future__ import annotations

from math import log

import pytest
import torch

from overopt.objectives.kl import consecutive_kl, k2, k3

LOG2 = log(2)


def test_the_estimators_by_hand() -> None:
    d = torch.tensor([LOG2, -LOG2, 0.0], dtype=torch.float64)
    assert k2(d).tolist() == pytest.approx([0.2402265, 0.2402265, 0.0], abs=1e-7)
    assert k3(d).tolist() == pytest.approx([0.1931472, 0.3068528, 0.0], abs=1e-7)


def test_k1_and_k3_are_unbiased_on_an_enumerated_distribution() -> None:
    pi = torch.tensor([0.125, 0.375, 0.5], dtype=torch.float64)
    mu = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    d = pi.log() - mu.log()
    kl = 0.3253362  # .125 ln(1/4) + .375 ln(3/2) + .5 ln 2
    assert float((pi * d).sum()) == pytest.approx(kl, abs=1e-7)
    assert float((pi * k3(d)).sum()) == pytest.approx(kl, abs=1e-7)
    assert float((pi * k2(d)).sum()) != pytest.approx(kl, abs=1e-3)


def test_k3_is_never_negative_and_survives_huge_log_ratios() -> None:
    d = torch.cat([torch.linspace(-30, 30, 1001), torch.tensor([1e-8, -1e-8, 1e4, -1e4])])
    assert (k3(d) >= 0).all()
    assert torch.isfinite(k3(d)).all()


def test_consecutive_kl_by_hand() -> None:
    old = torch.tensor([-5.0, -7.0])
    new = old + torch.tensor([LOG2, -LOG2])
    forward, backward = consecutive_kl(new, old)
    assert float(forward) == pytest.approx((0.3862944 + 0.1534264) / 2, abs=1e-6)
    assert float(backward) == pytest.approx((0.3068528 + 0.1931472) / 2, abs=1e-6)


def test_consecutive_kl_gives_both_directions_exactly_on_exhaustive_samples() -> None:
    """Four samples 0, 0, 1, 2 represent the old policy (1/2, 1/4, 1/4) exactly."""
    old = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64).log()
    new = torch.tensor([0.125, 0.375, 0.5], dtype=torch.float64).log()
    samples = torch.tensor([0, 0, 1, 2])
    forward, backward = consecutive_kl(new[samples], old[samples])
    assert float(forward) == pytest.approx(0.3253362, abs=1e-7)  # KL(new || old)
    assert float(backward) == pytest.approx(0.4184941, abs=1e-7)  # KL(old || new)


@pytest.mark.parametrize("scale", [1e-4, 1e-3, 1e-2])
def test_consecutive_kl_is_half_the_mean_square_for_small_steps(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    old = -30 * torch.rand(500, dtype=torch.float64, generator=generator)
    d = scale * torch.randn(500, dtype=torch.float64, generator=generator)
    half = float(d.square().mean() / 2)
    for value in consecutive_kl(old + d, old):
        assert float(value) >= 0
        assert float(value) == pytest.approx(half, rel=scale)


def test_consecutive_kl_is_zero_without_a_step_and_non_negative_for_any_step() -> None:
    old = torch.tensor([-1.0, -80.0])
    assert [float(value) for value in consecutive_kl(old, old)] == [0.0, 0.0]
    generator = torch.Generator().manual_seed(1)
    for scale in (1e-6, 0.1, 5.0, 500.0):
        for value in consecutive_kl(old + scale * torch.randn(2, generator=generator), old):
            assert float(value) >= 0
            assert torch.isfinite(value)

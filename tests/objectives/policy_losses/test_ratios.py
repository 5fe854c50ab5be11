from __future__ import annotations

import math

import pytest
import torch

from overopt.objectives.policy_losses.ratios import MAX_LOG_RATIO, ratio, surrogates


def test_ratios_are_finite_however_far_the_policy_has_moved() -> None:
    values = ratio(torch.tensor([0.0, math.log(2.0), -math.inf, 500.0]))
    assert values[:3].tolist() == pytest.approx([1.0, 2.0, 0.0])
    assert float(values[3]) == pytest.approx(math.exp(MAX_LOG_RATIO), rel=1e-5)


def test_both_sides_of_the_range() -> None:
    advantage, ratios = torch.tensor([2.0, 2.0, -2.0]), torch.tensor([0.5, 1.5, 1.1])
    plain, clipped = surrogates(advantage, ratios, 0.2, 0.3)
    assert plain.tolist() == pytest.approx([-1.0, -3.0, 2.2])
    assert clipped.tolist() == pytest.approx([-1.6, -2.6, 2.2])
    assert surrogates(advantage, ratios, 0.2, None)[1].tolist() == pytest.approx([-1.6, -2.4, 2.2])

from __future__ import annotations

import math
from typing import Any

import pytest

from overopt.config import block, load
from overopt.errors import ConfigError
from overopt.objectives.controllers import AdaptiveKL, Cosine, Fixed, Linear, TargetEntropy
from overopt.objectives.regularizers.coefficients import Coefficient, NonNegativeCoefficient, start


@block
class Holder:
    """Something with both kinds of coefficient."""

    any: Coefficient = 0.1
    divergence: NonNegativeCoefficient = 0.2


def test_a_number_or_a_controller_by_name() -> None:
    holder = load(Holder, {"any": -1, "divergence": {"name": "adaptive_kl", "target": 2.0}})
    assert holder.any == -1 and holder.divergence == AdaptiveKL(target=2.0)
    assert load(Holder, {"any": "linear"}).any == Linear()
    assert load(Holder, {"any": {"name": "fixed", "value": 3}}).any == Fixed(value=3.0)


@pytest.mark.parametrize(
    "value", [-0.5, {"name": "linear", "initial": 1.0, "final": -0.5}, {"name": "fixed", "value": -0.5}]
)
def test_a_divergence_with_a_negative_coefficient_is_refused_by_its_field(value: Any) -> None:
    with pytest.raises(ConfigError, match="divergence: .*must be >= 0, got -0.5"):
        load(Holder, {"divergence": value})


def test_where_it_starts() -> None:
    assert [start(c) for c in (1, 0.5, Fixed(value=2.0), AdaptiveKL(initial=0.4))] == [1.0, 0.5, 2.0, 0.4]
    assert [start(c) for c in (Linear(initial=0.3), Cosine(initial=0.2), TargetEntropy(initial=0.1))] == [0.3, 0.2, 0.1]
    assert math.isnan(start(object()))  # a controller from elsewhere need not have an `initial`

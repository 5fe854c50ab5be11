from __future__ import annotations

import dataclasses

import pytest

from overopt.config import addresses, load
from overopt.errors import ConfigError
from overopt.replication.claims.thresholds import Thresholds


def test_the_thresholds_of_the_definitions() -> None:
    """As they were fixed before the first reported run; a change needs a reason."""
    assert addresses(Thresholds()) == {
        "standard_errors": 2.0,
        "trend.tau": 0.3,
        "trend.p": 0.01,
        "grid.nonzero": 3,
        "grid.pilot": 1,
        "grid.margins": 5,
        "shape.half": 0.7,
        "shape.saturated": 0.33,
        "shape.linear": 0.9,
        "shape.sustained": 0.5,
        "shape.accelerated": 1.0,
        "shape.bounded": 2.0,
        "shape.growth": 1.5,
        "comparison.comparable": 0.03,
        "comparison.rank_p": 0.05,
        "comparison.rank_tau": 0.6,
        "comparison.fall": 3.0,
        "comparison.kl_range": 2.0,
        "comparison.kl_budget": 1.25,
        "comparison.band": 0.5,
        "share.entropy": 0.8,
        "share.early": 0.5,
        "share.early_runs": 0.5,
    }


def test_each_is_a_flag() -> None:
    changed = load(Thresholds, {}, [("trend.tau", "0.4"), ("grid.nonzero", "2")])
    assert (changed.trend.tau, changed.grid.nonzero, changed.trend.p) == (0.4, 2, 0.01)
    with pytest.raises(ConfigError, match="trend.tua"):
        load(Thresholds, {}, [("trend.tua", "0.4")])


def test_they_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Thresholds().trend.tau = 0.1  # type: ignore[misc]

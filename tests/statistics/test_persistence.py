import math

import numpy as np
import pytest

from overopt.statistics.persistence import contrast_error, persistence, tau_p


def noise(phi: float, count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    z = random.standard_normal(count)
    for t in range(1, count):
        z[t] += phi * z[t - 1]
    return z


def test_persistence_by_hand() -> None:
    # increments 1, -1, 1, -1, 1 less their mean 1/5: squares 24/5, products of neighbors 4 (4/5)(-6/5) = -96/25
    values = [0.0, 1, 0, 1, 0, 1]
    assert persistence(values, margin=0.0) == 0.0, "1 - 2 (96/25)/(24/5) is below 0"
    assert persistence(values, margin=1.0) == pytest.approx(1 - 1.6 + 2 / math.sqrt(6))
    assert persistence([0.0, 1, 0]) == 1, "too few to tell"
    assert persistence([0.1 * t for t in range(30)]) == 0, "a line is no noise"


def test_persistence_of_long_noise_and_of_noise_on_a_trend() -> None:
    trend = np.linspace(0, 30, 4000)
    for phi in (0.0, 0.5, 0.9):
        found = persistence(noise(phi, 4000, seed=1), margin=0.0)
        assert found == pytest.approx(phi, abs=0.06)
        assert persistence(noise(phi, 4000, seed=1) + trend, margin=0.0) == pytest.approx(found, abs=1e-3)


def test_error_of_a_contrast_of_a_walk_and_of_independent_noise() -> None:
    weights = np.zeros(400)
    weights[0], weights[-1] = -1, 1
    walk = np.cumsum(np.random.default_rng(0).standard_normal(400))
    assert contrast_error(walk, weights) == pytest.approx(np.diff(walk).std(ddof=1) * math.sqrt(399))
    independent = noise(0.0, 400, seed=2)
    flat = np.zeros(400)
    flat[:50], flat[-50:] = -1 / 50, 1 / 50
    phi, variance = persistence(independent, 2.0), np.diff(independent).var(ddof=1)
    assert 0 < phi < 0.5
    expected = sum(
        -0.5 * a * b * variance * (1 - phi ** abs(s - t)) / (1 - phi)
        for s, a in enumerate(flat)
        for t, b in enumerate(flat)
        if a and b
    )
    assert contrast_error(independent, flat) == pytest.approx(math.sqrt(expected))


def test_tau_is_compared_with_noise_that_persists_as_much() -> None:
    independent, walk = noise(0.0, 50, seed=3), np.cumsum(noise(0.0, 50, seed=5))
    assert tau_p(0.0, walk) == 1
    assert tau_p(0.7, independent) < 0.01 < 0.1 < tau_p(0.7, walk)
    assert tau_p(0.5, walk) == tau_p(0.5, walk), "the draws are seeded"

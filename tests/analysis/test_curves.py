"""What a figure draws, and where its labels go."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_study import finished_run

from overopt.analysis.curves import Curve, curve_of, spread


def test_a_curve_from_a_record(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "a", wins=32, proxy=1.0)
    assert curve_of("kl", run, "GOOD") == Curve("kl", "online", "GOOD", (0, 80), (0.4, 0.8), (0.0, 1.0))


@pytest.mark.parametrize(
    ("places", "moved"),
    [
        ([0.5], [0.5]),
        ([0.2, 0.8], [0.2, 0.8]),
        ([0.5, 0.5], [0.5, 0.6]),
        ([0.52, 0.5], [0.6, 0.5]),
        ([1.0, 0.99, 0.98], [1.0, 0.9, 0.8]),
        ([0.0, 0.0, 0.05], [0.0, 0.1, 0.2]),
        ([0.5] * 21, [i / 20 for i in range(21)]),  # no room for the gap: evenly over all there is
        ([], []),
    ],
)
def test_labels_are_spread(places: list[float], moved: list[float]) -> None:
    assert spread(places, gap=0.1, low=0.0, high=1.0) == pytest.approx(moved)

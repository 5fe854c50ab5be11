"""Win rates by length, and differences at equal length, against numbers worked by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_runs import Evaluated, online_run

from overopt.analysis.report.collect import collect
from overopt.analysis.report.figures.drawing import rows_of
from overopt.analysis.report.figures.length import at_equal_length, cut_points, draw_length
from overopt.statistics import wilson


def test_the_difference_at_equal_length_is_the_regressions_intercept() -> None:
    """Outcome difference = .25 + .5 x length difference, exactly; then with a residual of +-.1."""
    length = [-1.0, 0.0, 1.0, 2.0]
    exact = at_equal_length([0.25 + 0.5 * x for x in length], length)
    assert exact is not None
    assert (exact.mean, exact.se) == pytest.approx((0.25, 0.0))

    from scipy import stats

    x, y = np.array(length), np.array([0.1, 0.3, 0.9, 1.0])
    found, expected = at_equal_length(y.tolist(), length), stats.linregress(x, y)
    assert found is not None
    assert (found.mean, found.se) == pytest.approx((expected.intercept, expected.intercept_stderr))


@pytest.mark.parametrize(("outcome", "length"), [([0.0, 1.0], [1, 2]), ([0.0, 1.0, 1.0], [2, 2, 2])])
def test_too_few_prompts_or_equal_lengths_say_nothing(outcome: list[float], length: list[float]) -> None:
    assert at_equal_length(outcome, length) is None


def test_terciles_are_cut_over_all_runs_and_win_rates_have_wilson_intervals(tmp_path: Path) -> None:
    """Last lengths are 10 to 19 for one run and 30 to 39 for the other: cut at 16 1/3 and 32 2/3."""
    online_run(tmp_path / "kl", [Evaluated(0, 4), Evaluated(20, 8, 1.0)])
    online_run(tmp_path / "none", [Evaluated(0, 4), Evaluated(20, 0, 3.0, length=30)])
    group = collect([tmp_path]).groups[0]
    assert cut_points(group.records) == pytest.approx((16 + 1 / 3, 32 + 2 / 3))
    drawn = draw_length(group)
    assert drawn is not None
    panels = {panel.title: panel for panel in drawn.panels}
    rows = {(row["run"], row["x"]): row for row in rows_of(panels["win rate by length"].data["terciles-bars"])}
    assert {key: (row["y"], row["n"]) for key, row in rows.items()} == {
        ("kl", "short"): (1, 7), ("kl", "middle"): (pytest.approx(1 / 3, abs=1e-5), 3),
        ("none", "middle"): (0, 3), ("none", "long"): (0, 7),
    }  # fmt: skip
    low, high = wilson(7, 7)
    assert (rows["kl", "short"]["low"], rows["kl", "short"]["high"]) == pytest.approx((low, high), abs=1e-5)


def test_the_difference_to_the_start_is_paired_over_prompts(tmp_path: Path) -> None:
    """Four of ten prompts are newly won: +.4, se sqrt(.4 - .16) / sqrt(10). No length changed: nothing to control."""
    online_run(tmp_path / "kl", [Evaluated(0, 4), Evaluated(20, 8, 1.0)])
    drawn = draw_length(collect([tmp_path]).groups[0])
    assert drawn is not None
    (row,) = rows_of(drawn.panels[-1].data["controlled-bars"])
    reach = 1.96 * (0.24 / 10) ** 0.5
    assert (row["x"], row["y"], row["n"]) == ("as it is", 0.4, 10)
    assert (row["low"], row["high"]) == pytest.approx((0.4 - reach, 0.4 + reach), abs=1e-5)


def test_a_run_evaluated_once_has_no_difference(tmp_path: Path) -> None:
    online_run(tmp_path / "kl", [Evaluated(0, 4)])
    drawn = draw_length(collect([tmp_path]).groups[0])
    assert drawn is not None
    assert "win rate minus SFT's" not in [panel.title for panel in drawn.panels]

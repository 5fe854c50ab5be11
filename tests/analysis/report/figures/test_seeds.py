from __future__ import annotations

from pathlib import Path

import pytest
from fake_runs import Evaluated, online_run

from overopt.analysis.report.collect import Group, collect
from overopt.analysis.report.figures.drawing import rows_of
from overopt.analysis.report.figures.seeds import draw_seeds, summary


def four_seeds(path: Path) -> Group:
    """Win rates at the end: 0, .6, .8, 1. Seed 3 was not evaluated at step 10."""
    for seed, wins in enumerate((0, 6, 8, 10)):
        middle = [Evaluated(10, 5)] if seed < 3 else []
        online_run(path / str(seed), [Evaluated(0, 4), *middle, Evaluated(20, wins)], changes={"seed": seed})
    return collect([path]).groups[0]


def test_the_interquartile_mean_is_where_every_seed_was_evaluated(tmp_path: Path) -> None:
    steps, middle, low, high = summary(list(four_seeds(tmp_path).records), "win_rate")
    assert steps == [0, 20]
    assert middle == pytest.approx([0.4, 0.7]), "the lowest and the highest quarter are cut"
    assert low[0] == high[0] == pytest.approx(0.4)
    assert low[1] < 0.7 < high[1] and low[1] + high[1] == pytest.approx(1.4), "by Student's t"


def test_thin_lines_are_the_seeds_and_the_thick_one_their_mean(tmp_path: Path) -> None:
    group = four_seeds(tmp_path)
    online_run(tmp_path / "alone", changes={"regularizers": []})
    drawn = draw_seeds(collect([tmp_path]).groups[0])
    assert drawn is not None
    data = drawn.panels[0].data
    assert [row["y"] for row in rows_of(data["seeds_win_rate-mean"])] == pytest.approx([0.4, 0.7])
    assert set(data["seeds_win_rate-mean"]["entry"]) == {group.records[0].setting}
    assert set(data["seeds_win_rate-thin"]["run"]) == {"0", "1", "2", "3"}, "the lone run has no seeds"
    assert len(data["seeds_win_rate-thin"]["y"]) == 11


def test_runs_that_differ_in_more_than_seeds_have_none(tmp_path: Path) -> None:
    online_run(tmp_path / "a")
    online_run(tmp_path / "b", changes={"lr": 1e-3})
    assert draw_seeds(collect([tmp_path]).groups[0]) is None

import math

import pytest
from figure_studies import points, run

from overopt.replication.figures.over_seeds import series
from overopt.replication.figures.wording import (
    change,
    end_of,
    ends_say,
    half_of,
    halves_say,
    proxy_says,
    sentence,
    start_of,
    trend_says,
    win_rates_say,
)


def test_runs_are_counted_by_significant_differences() -> None:
    runs = [run("R", rates=(0.5, rate), proxy=(0.0, move)) for rate, move in ((0.2, 1.0), (0.51, 0.0), (0.8, -1.0))]
    assert [change(one.won) for one in runs] == [-1, 0, 1]  # a change of one prompt is one standard error
    assert win_rates_say(runs) == "the win rate ends below SFT's in 1 of 3 runs and above it in 1"
    assert proxy_says(runs) == "the proxy rises in 1 of 3 runs"


def test_runs_without_two_evaluations_do_not_count() -> None:
    once = run("R", rates=(0.5,), proxy=(0.0,))
    assert win_rates_say([once]) == "no run has a win rate to compare with SFT's"
    assert proxy_says([once]) == "the proxy was not recorded"
    assert win_rates_say([once, run("R")]).startswith("the win rate ends below SFT's in 0 of 1 runs and above it in 1")


def test_trends_are_counted_with_their_significance() -> None:
    wave = [math.sin(7 * step) for step in range(60)]
    up, down = [step + w for step, w in enumerate(wave)], [w - step for step, w in enumerate(wave)]
    runs = [run("R", series={"kl_prev": values}) for values in (up, down, wave)]
    ends = sum(end_of(points(values)) > end_of(points(values[::-1])) for values in (up, down, wave))
    said = trend_says("KL", runs, series("kl_prev"))
    assert said.startswith(f"KL ends higher than it starts in {ends} of 3 runs (significantly: ")
    assert trend_says("KL", [run("R")], series("kl_prev")) == "KL was not recorded"


def test_a_clear_trend_is_significant() -> None:
    noisy = [0.05 * step + math.sin(11 * step) for step in range(200)]
    runs = [run("R", series={"x": noisy}), run("R", series={"x": [-value for value in noisy]})]
    assert trend_says("it", runs, series("x")) == (
        "it ends higher than it starts in 1 of 2 runs (significantly: 1 up, 1 down)"
    )


def test_ends_and_middles() -> None:
    linear, flat = points([float(step) for step in range(101)]), points([2.0] * 101)
    assert (start_of(linear), end_of(linear)) == (2.5, 97.5)  # of 101 points 6 at either end
    assert half_of(linear) == pytest.approx(50 / 97.5) and half_of(flat) == 1
    runs = [run("R", series={"kl_ref": [1.0] * 11}), run("R", series={"kl_ref": [3.5] * 11})]
    assert ends_say("KL", runs, series("kl_ref"), "nats") == "KL ends at 1 to 3.5 nats"
    assert ends_say("KL", runs[:1], series("kl_ref")) == "KL ends at 1"
    assert halves_say(runs, series("kl_ref")) == "100% of that half-way"
    assert halves_say([run("R", series={"kl_ref": [0.0]})], series("kl_ref")) == "its middle not recorded"


def test_clauses_become_a_sentence() -> None:
    assert sentence("the proxy rises", "", "KL falls") == "The proxy rises; KL falls."
    assert sentence("γ = 0 is best") == "γ = 0 is best."

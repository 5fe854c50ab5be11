"""All thresholds of the claims' tests, fixed before the reported runs; each is a flag of `overopt claims`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from overopt.config import NonNegative, block


@block
class TrendThresholds:
    """What makes Kendall's tau of a series against its steps a trend."""

    tau: NonNegative = 0.3
    """Least size of tau."""
    p: NonNegative = 0.01
    """The p-value, among noise as autocorrelated as the series, must be below."""


@block
class GridThresholds:
    """How many values a claim about "all" must have been tried on."""

    nonzero: Annotated[int, Field(ge=1)] = 3
    """Least number of values other than 0, beside 0 itself."""
    pilot: Annotated[int, Field(ge=1)] = 1
    """The same for the row that the paper only tried out: 2.8B at the high learning rate; 0 is not needed there."""
    margins: Annotated[int, Field(ge=3)] = 5
    """Least number of values of gamma of which a rank correlation is taken."""


@block
class ShapeThresholds:
    """The shape of a series."""

    half: NonNegative = 0.7
    """KL-constrained KL at half of the axis, as a share of its end, is at least this: .5 is linear, 1 saturated."""
    saturated: NonNegative = 0.33
    """Its slope in the last third, by that in the first, is at most this."""
    linear: NonNegative = 0.9
    """R2 of a line through MaxEnt's KL is at least this."""
    sustained: NonNegative = 0.5
    """Its slope in the last third, by that in the first, is at least this."""
    accelerated: NonNegative = 1.0
    """The same of a run that is judged by its dynamics alone is above this."""
    bounded: NonNegative = 2.0
    """The largest consecutive KL, by its median between 10 and 30 %, is at most this if KL is constrained."""
    growth: NonNegative = 1.5
    """The end of MaxEnt's consecutive KL, by its start after the first 10 %, is at least this."""


@block
class ComparisonThresholds:
    """Comparisons between runs."""

    comparable: NonNegative = 0.03
    """Win rates that differ by at most this, or by two standard errors, are comparable."""
    rank_p: NonNegative = 0.05
    """p-value of a rank correlation over runs."""
    rank_tau: NonNegative = 0.6
    """Least size of Kendall's tau of win rate against gamma."""
    fall: NonNegative = 3.0
    """The likelihood falls by at least this many times as much in over-optimized runs as in good ones."""
    kl_range: NonNegative = 2.0
    """KL at the weakest coefficient, by that at the strongest, is at least this."""
    kl_budget: NonNegative = 1.25
    """KL of an over-optimized run, by that of a good one of another size, is at most this if budgets are similar."""
    band: NonNegative = 0.5
    """The 5 to 95 % band of batch means, by the interquartile range of single pairs, is at most this."""


@block
class ShareThresholds:
    """How many runs make a rule."""

    entropy: NonNegative = 0.8
    """Least share of runs whose entropy moves as the claim says."""
    early: NonNegative = 0.5
    """Over-optimization is rapid if the win rate is below SFT's before this share of the training ..."""
    early_runs: NonNegative = 0.5
    """... in at least this share of the runs."""


@block
class Thresholds:
    """All thresholds; labels keep those of `outcomes.py`."""

    standard_errors: NonNegative = 2.0
    """What counts as a difference between two numbers that have standard errors."""
    trend: TrendThresholds = TrendThresholds()
    grid: GridThresholds = GridThresholds()
    shape: ShapeThresholds = ShapeThresholds()
    comparison: ComparisonThresholds = ComparisonThresholds()
    share: ShareThresholds = ShareThresholds()

"""All thresholds of the claims' tests, fixed before the reported runs; each is a flag of `overopt claims`."""

from __future__ import annotations

from overopt.config import block


@block
class TrendThresholds:
    """What makes Kendall's tau of a series against its steps a trend."""

    tau: float = 0.3
    """Least size of tau."""
    p: float = 0.01
    """The p-value, among noise as autocorrelated as the series, must be below."""


@block
class GridThresholds:
    """How many values a claim about "all" must have been tried on."""

    nonzero: int = 3
    """Least number of values other than 0, beside 0 itself."""
    pilot: int = 1
    """The same for the row that the paper only tried out: 2.8B at the high learning rate; 0 is not needed there."""
    margins: int = 5
    """Least number of values of gamma of which a rank correlation is taken."""


@block
class ShapeThresholds:
    """The shape of a series."""

    half: float = 0.7
    """KL-constrained KL at half of the axis, as a share of its end, is at least this: .5 is linear, 1 saturated."""
    saturated: float = 0.33
    """Its slope in the last third, by that in the first, is at most this."""
    linear: float = 0.9
    """R2 of a line through MaxEnt's KL is at least this."""
    sustained: float = 0.5
    """Its slope in the last third, by that in the first, is at least this."""
    accelerated: float = 1.0
    """The same of a run that is judged by its dynamics alone is above this."""
    bounded: float = 2.0
    """The largest consecutive KL, by its median between 10 and 30 %, is at most this if KL is constrained."""
    growth: float = 1.5
    """The end of MaxEnt's consecutive KL, by its start after the first 10 %, is at least this."""


@block
class ComparisonThresholds:
    """Comparisons between runs."""

    comparable: float = 0.03
    """Win rates that differ by at most this, or by two standard errors, are comparable."""
    rank_p: float = 0.05
    """p-value of a rank correlation over runs."""
    rank_tau: float = 0.6
    """Least size of Kendall's tau of win rate against gamma."""
    fall: float = 3.0
    """The likelihood falls by at least this many times as much in over-optimized runs as in good ones."""
    kl_range: float = 2.0
    """KL at the weakest coefficient, by that at the strongest, is at least this."""
    kl_budget: float = 1.25
    """KL of an over-optimized run, by that of a good one of another size, is at most this if budgets are similar."""
    band: float = 0.5
    """The 5 to 95 % band of batch means, by the interquartile range of single pairs, is at most this."""


@block
class ShareThresholds:
    """How many runs make a rule."""

    entropy: float = 0.8
    """Least share of runs whose entropy moves as the claim says."""
    early: float = 0.5
    """Over-optimization is rapid if the win rate is below SFT's before this share of the training ..."""
    early_runs: float = 0.5
    """... in at least this share of the runs."""


@block
class Thresholds:
    """All thresholds; labels keep those of `outcomes.py`."""

    standard_errors: float = 2.0
    """What counts as a difference between two numbers that have standard errors."""
    trend: TrendThresholds = TrendThresholds()
    grid: GridThresholds = GridThresholds()
    shape: ShapeThresholds = ShapeThresholds()
    comparison: ComparisonThresholds = ComparisonThresholds()
    share: ShareThresholds = ShareThresholds()

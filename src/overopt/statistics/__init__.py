"""Intervals, paired differences, correlations and trends, for labels and studies.

scipy is imported where it is needed only. Resampling is seeded: the same data give the same interval and p-value.
"""

from overopt.statistics.agreement import agreement, kappa, order_consistency, position_bias
from overopt.statistics.correlations import kendall, spearman
from overopt.statistics.differences import Difference, Floats, paired_difference, several_seeds
from overopt.statistics.lengths import by_length, length_bias, length_controlled, length_slope
from overopt.statistics.maxima import largest_p, tail
from overopt.statistics.rates import Estimate, mean_outcome, outcomes_interval, wilson
from overopt.statistics.seeds import bootstrap, interquartile_mean, seeds_interval
from overopt.statistics.series import direction, fall, kendall_trend, rise

__all__ = [
    "Difference",
    "Estimate",
    "Floats",
    "agreement",
    "bootstrap",
    "by_length",
    "direction",
    "fall",
    "interquartile_mean",
    "kappa",
    "kendall",
    "kendall_trend",
    "largest_p",
    "length_bias",
    "length_controlled",
    "length_slope",
    "mean_outcome",
    "order_consistency",
    "outcomes_interval",
    "paired_difference",
    "position_bias",
    "rise",
    "seeds_interval",
    "several_seeds",
    "spearman",
    "tail",
    "wilson",
]

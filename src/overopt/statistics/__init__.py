"""Intervals, paired differences, correlations and trends, for labels and studies.

scipy is imported where it is needed only. Resampling is seeded: the same data give the same interval and p-value.
"""

from overopt.statistics.correlations import kendall, spearman
from overopt.statistics.differences import Difference, Floats, paired_difference, several_seeds
from overopt.statistics.maxima import largest_p, tail
from overopt.statistics.rates import wilson
from overopt.statistics.seeds import bootstrap, interquartile_mean, seeds_interval
from overopt.statistics.series import direction, fall, kendall_trend, rise

__all__ = [
    "Difference",
    "Floats",
    "bootstrap",
    "direction",
    "fall",
    "interquartile_mean",
    "kendall",
    "kendall_trend",
    "largest_p",
    "paired_difference",
    "rise",
    "seeds_interval",
    "several_seeds",
    "spearman",
    "tail",
    "wilson",
]

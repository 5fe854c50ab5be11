"""Power: how many seeds and prompts it takes to tell two runs apart whose win rates differ by so much.

Seeds are drawn at random: under seed s the runs truly differ by delta_s, normal around `difference` with standard
deviation `sd_seeds`. Each seed is measured on its own sample of n prompts, the same for both runs, whose paired
differences vary by `sd_prompts` within a seed. The mean over S seeds so has the variance

    sd_seeds^2 / S + sd_prompts^2 / (S n),

whose first part no number of prompts removes. Two tests look at it: `RULE`, which gives the verdicts here, takes a
difference for real that is two standard errors from 0, by the larger standard error of `several_seeds`; `STUDENT` is
the two-sided t-test of the seeds' differences at 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from overopt.errors import UserError
from overopt.statistics.differences import Floats

Test = Literal["rule", "student"]
RULE: Test = "rule"
STUDENT: Test = "student"

STANDARD_ERRORS = 2.0
"""What `RULE` asks for."""
LEVEL = 0.05
"""Share of false positives that `STUDENT` allows."""
GRID = 4000
"""Points at which the distribution of the spread is taken."""
MOST = 10**7
"""More seeds or prompts than this are not considered."""


@dataclass(frozen=True)
class Comparison:
    """Two runs: by how much their win rates differ, and what one seed and one prompt add to the spread of that."""

    difference: float
    sd_seeds: float
    sd_prompts: float

    def of(self, difference: float) -> Comparison:
        """Another difference with the same spreads."""
        return replace(self, difference=difference)

    def se(self, seeds: int, prompts: float) -> float:
        """Standard error of the mean difference; `prompts` may be infinite, which leaves what the seeds add."""
        return math.sqrt((self.sd_seeds**2 + self.sd_prompts**2 / prompts) / seeds)

    def power(self, seeds: int, prompts: float, test: Test = RULE) -> float:
        """The chance that the test takes the difference for real; with a difference of 0, of a false positive.

        The mean is normal and, independent of it, the variance between seeds a multiple of chi^2 with S - 1 degrees of
        freedom: the power is an integral over that.
        """
        from scipy.special import ndtr
        from scipy.stats import t

        se = self.se(seeds, prompts)
        if se == 0:
            return float(self.difference != 0)
        between = se * _spreads(seeds - 1)
        if test == STUDENT:
            least = t.isf(LEVEL / 2, seeds - 1) * between
        else:
            least = STANDARD_ERRORS * np.maximum(between, self.sd_prompts / math.sqrt(seeds * prompts))
        above, below = (self.difference - least) / se, (-self.difference - least) / se
        return float((ndtr(above) + ndtr(below)).mean())

    def false_positives(self, seeds: int, prompts: float, test: Test = RULE) -> float:
        """How often two runs that do not differ are told apart all the same."""
        return self.of(0.0).power(seeds, prompts, test)

    def seeds_needed(self, prompts: float, power: float, test: Test = RULE) -> int | None:
        """The least number of seeds with this power; None if there is no such number."""
        return _least(lambda seeds: self.power(seeds, prompts, test) >= power, first=2)

    def prompts_needed(self, seeds: int, power: float, test: Test = RULE) -> int | None:
        """The least number of prompts with this power; None if no number of prompts gives it to so few seeds."""
        return _least(lambda prompts: self.power(seeds, prompts, test) >= power, first=1)

    def smallest_difference(self, seeds: int, prompts: float, power: float, test: Test = RULE) -> float | None:
        """The least difference with this power, to three decimals, the spreads being as they are; None if above 1."""
        steps = _least(lambda step: self.of(step / 1000).power(seeds, prompts, test) >= power, first=1)
        return None if steps is None or steps > 1000 else steps / 1000

    def simulate(self, seeds: int, prompts: int, test: Test = RULE, *, repeats: int = 4000, seed: int = 0) -> float:
        """The share of simulated studies in which the test, on counts of prompts, takes the difference for real.

        Each seed's difference is drawn, then how many of its prompts only the one run wins, and how many only the
        other; no prompt is a tie. Nothing of `power` is used.
        """
        from scipy.stats import t

        random = np.random.default_rng(seed)
        true = np.clip(random.normal(self.difference, self.sd_seeds, (repeats, seeds)), -1, 1)
        unequal = self.sd_prompts**2 + self.sd_seeds**2 + self.difference**2
        share = np.maximum(min(1.0, unequal), np.abs(true))  # of the prompts that only one run wins
        counts = random.binomial(prompts, share)
        first = random.binomial(counts, (1 + true / np.maximum(share, 1e-300)) / 2)
        d = (2 * first - counts) / prompts
        mean, between = d.mean(axis=1), d.std(axis=1, ddof=1) / math.sqrt(seeds)
        if test == STUDENT:
            least = t.isf(LEVEL / 2, seeds - 1) * between
        else:
            within = np.sqrt(((counts / prompts - d**2) / prompts).sum(axis=1)) / seeds
            least = STANDARD_ERRORS * np.maximum(between, within)
        return float(((np.abs(mean) >= least) & (mean != 0)).mean())


def comparison(
    difference: float,
    sd_seeds: float,
    base: float = 0.5,
    *,
    correlation: float | None = None,
    discordance: float | None = None,
) -> Comparison:
    """The comparison of a run with win rate `base` and one that differs from it by `difference`.

    The spread over prompts follows from `discordance`, the share of prompts that only one of the two runs wins, or from
    the `correlation` of their outcomes over prompts and seeds (0 if neither is given). A single prompt's difference
    has the variance discordance - difference^2 over prompts and seeds; less that of the seeds it is the one within a
    seed. UserError for numbers that no two runs can have.
    """
    other = base + difference
    if not 0 <= base <= 1:
        raise UserError(f"a base win rate of {base:g}: expected a share from 0 to 1")
    if not 0 <= other <= 1:
        raise UserError(f"a base win rate of {base:g} and a difference of {difference:+g} make {other:g}, not a share")
    if correlation is not None and discordance is not None:
        raise UserError(
            "give the correlation of the outcomes or their discordance, not both: one follows from the other"
        )
    if not (sd_seeds >= 0 and math.isfinite(sd_seeds)):
        raise UserError(f"a standard deviation over seeds of {sd_seeds:g}: expected 0 or more")
    if discordance is None:
        discordance = _discordance(base, other, correlation or 0.0)
    least, most = abs(difference), min(base + other, 2 - base - other)
    if not least - 1e-9 <= discordance <= most + 1e-9:
        raise UserError(
            f"a discordance of {discordance:g}: win rates of {base:g} and {other:g} allow {least:g} to {most:g}"
        )
    variance = discordance - difference**2 - sd_seeds**2
    if variance < -1e-9:
        largest = math.sqrt(max(0.0, discordance - difference**2))
        raise UserError(
            f"a standard deviation over seeds of {sd_seeds:g}: with a discordance of {discordance:g} and a difference "
            f"of {difference:+g} it is at most {largest:.3g}"
        )
    return Comparison(difference, sd_seeds, math.sqrt(max(0.0, variance)))


def _discordance(base: float, other: float, correlation: float) -> float:
    """The share of prompts that only one run wins, by the correlation of wins."""
    if not -1 <= correlation <= 1:
        raise UserError(f"a correlation of {correlation:g}: expected a number from -1 to 1")
    spread = math.sqrt(base * (1 - base) * other * (1 - other))
    both = base * other + correlation * spread
    least, most = max(0.0, base + other - 1), min(base, other)
    if not least - 1e-9 <= both <= most + 1e-9:
        bounds = [f"{(limit - base * other) / spread:.2f}" for limit in (least, most)]
        raise UserError(
            f"a correlation of {correlation:g}: win rates of {base:g} and {other:g} allow {bounds[0]} to {bounds[1]}"
        )
    return base + other - 2 * both


@lru_cache(maxsize=256)
def _spreads(freedom: int) -> Floats:
    """Evenly spaced quantiles of a standard deviation of normal values, in terms of the true one."""
    from scipy.stats import chi2

    return np.asarray(np.sqrt(chi2.ppf((np.arange(GRID) + 0.5) / GRID, freedom) / freedom))


def _least(enough: Callable[[int], bool], first: int) -> int | None:
    """The least number from `first` on that is enough; None if not even `MOST` is."""
    low, high = first - 1, first
    while not enough(high):
        low, high = high, 2 * high
        if high > MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high

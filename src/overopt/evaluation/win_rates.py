"""Win rates from what a judge said of the same prompts at several checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from overopt.evaluation.judges.base import Judgement, Reply, prefers_first
from overopt.statistics import order_consistency, paired_difference, position_bias, wilson
from overopt.statistics.lengths import by_length, length_controlled
from overopt.statistics.rates import Estimate, outcomes_interval

Row = dict[str, Any]
Outcomes = Sequence[float | None]
"""1 for a win, 1/2 for a tie, 0 for a loss, values between them as the mean of several verdicts; None: no verdict."""
Interval = Callable[[Sequence[float]], tuple[float, float]]

ON_EACH_SIDE = 0.1
"""Least share of completions that are not longer, and of those that are not shorter, for a win rate at equal length."""


@dataclass(frozen=True)
class Judged:
    """A comparison and its judgement."""

    judgement: Judgement
    length: int
    """Tokens of our completion."""
    longer: int
    """By how many characters it is longer than the other one."""


def win_rate(outcomes: Outcomes, baseline: Outcomes, interval: Interval | None = None) -> Row:
    """Return wins, ties, win rate with its interval (Wilson's by default), and the paired difference to a baseline.

    `invalid` counts the prompts without a verdict. Of the pairs of two verdicts the difference is taken.
    """
    judged = [r for r in outcomes if r is not None]
    if not judged:
        return {"n": 0}
    low, high = (interval or _wilson)(judged)
    row = {
        "n": len(judged),
        "wins": sum(r > 0.5 for r in judged),
        "ties": judged.count(0.5),
        "invalid": len(outcomes) - len(judged),
        "win_rate": sum(judged) / len(judged),
        "win_rate_low": low,
        "win_rate_high": high,
    }
    both = [(r, b) for r, b in zip(outcomes, baseline, strict=True) if r is not None and b is not None]
    if both:
        difference, se = paired_difference([r for r, _ in both], [b for _, b in both])
        row |= {"win_difference": difference, "win_difference_se": se}
    return row


def win_rates(judged: Sequence[Judged | None], baseline: Outcomes) -> Row:
    """Return all that is recorded of a judge's verdicts, prompt by prompt; None where there is nothing to compare with.

    Where scores are compared the interval is Wilson's, as in training. Otherwise it takes ties into account, which are
    common where a judge is asked in both orders; without ties it is Wilson's as well.
    """
    outcomes = [None if one is None else one.judgement.outcome for one in judged]
    known = [(r, one) for r, one in zip(outcomes, judged, strict=True) if r is not None and one is not None]
    verdicts = [one.judgement for one in judged if one is not None]
    by_scores = not any(judgement.replies or judgement.members for judgement in verdicts)
    row = win_rate(outcomes, baseline, None if by_scores else outcomes_interval)
    if not known:
        return row | {"invalid": len(outcomes)}
    values = [outcome for outcome, _ in known]
    thirds = by_length(values, [one.length for _, one in known])
    equal = _at_equal_length(values, [one.longer for _, one in known])
    return row | {
        "losses": row["n"] - row["wins"] - row["ties"],
        "invalid": sum(one is None or one.judgement.invalid for one in judged),
        "win_rate_invalid_as_loss": row["win_rate"] * row["n"] / len(verdicts),
        **{f"win_rate_{name}": third and third.value for name, third in zip(_THIRDS, thirds, strict=True)},
        "win_rate_length_controlled": equal and equal.value,
        **by_position([judgement.replies for judgement in verdicts]),
        "judges_disagree": disagreement([judgement.members for judgement in verdicts]),
    }


def by_position(replies: Sequence[Sequence[Reply]]) -> Row:
    """Return the share of valid replies that prefer the completion that stands first, a tie counting 1/2, and how often
    both orders say the same, of the comparisons with two valid replies; None without any.
    """
    first = [prefers_first(pair) for pair in replies]
    bias, consistent = position_bias(first), order_consistency(first)
    return {
        "first_position_rate": bias and 0.5 + bias.value,
        "order_consistency": consistent and consistent.value,
    }


def disagreement(members: Sequence[Sequence[float | None]]) -> float | None:
    """Return the share of comparisons on which joined judges differ, of those that two or more have judged."""
    known = [[outcome for outcome in pair if outcome is not None] for pair in members]
    compared = [pair for pair in known if len(pair) > 1]
    return float(np.mean([len(set(pair)) > 1 for pair in compared])) if compared else None


def _at_equal_length(values: Sequence[float], longer: Sequence[int]) -> Estimate | None:
    """The win rate at equal length; None if nearly all differ in one direction, which says little about equal ones."""
    sides = (np.mean([d >= 0 for d in longer]), np.mean([d <= 0 for d in longer]))
    return length_controlled(values, longer) if min(sides) >= ON_EACH_SIDE else None


_THIRDS = ("short", "middle", "long")


def _wilson(judged: Sequence[float]) -> tuple[float, float]:
    return wilson(sum(judged), len(judged))

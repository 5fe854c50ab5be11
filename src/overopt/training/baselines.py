"""Counting baselines on a reward model's held-out pairs: what a proxy must do better than.

Three counts, none of which reads a prompt or the order of words. Which way each of them prefers, more or less, is
learnt from the labels of the training pairs, so that the held-out pairs only test it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from overopt.statistics import Difference, Floats
from overopt.types import Preference

Count = Callable[[str], float]

MAX_STANDARD_ERRORS = 1000.0
"""Standard errors recorded where all pairs say the same, and there is none."""
COMMON_SHARE = 0.2
"""A word that more of the training completions have carries no content."""


class Baselines:
    """Counts fitted to training pairs or rankings; compared on the held-out ones."""

    def __init__(self, train: Sequence[Preference], heldout: Sequence[Preference]) -> None:
        counts = counts_of(completion.text for record in train for completion in record.ranked)
        ways = {name: np.sign(np.sign(gaps).sum()) or 1.0 for name, gaps in _gaps(train, counts).items()}
        self.gaps = {name: ways[name] * gaps for name, gaps in _gaps(heldout, counts).items()}
        """For each two completions of the held-out records the better-labelled one's count less the other's."""

    def against(self, gap: Floats, truth: Floats, pairs: int) -> dict[str, float]:
        """How often each count, and how often the reward model, orders two completions as `truth` does.

        `gap` and `truth` hold the differences of each two completions, record by record, `pairs` of them a record;
        where `truth` is 0 nothing can be right. A tie is right by half. `above_baselines` is by how many standard
        errors the model is better than a count, paired, of the count where that is least; a record's pairs are a unit.
        """
        clear = truth != 0
        if not clear.any():
            return {}
        model = _right(gap, truth)
        row: dict[str, float] = {}
        differences: list[Difference] = []
        for name, of_count in self.gaps.items():
            right = _right(of_count, truth)
            row[f"baseline_{name}_agreement"] = float(right[clear].mean())
            differences.append(_clustered((model - right).reshape(-1, pairs), clear.reshape(-1, pairs)))
        least = min(differences, key=lambda difference: (difference.z, difference.mean))
        row |= {"baseline_difference": least.mean, "baseline_difference_se": least.se}
        return row | {"above_baselines": min(MAX_STANDARD_ERRORS, max(-MAX_STANDARD_ERRORS, least.z))}


def counts_of(completions: Iterable[str]) -> dict[str, Count]:
    """The counts of a text: its characters, its different words, and those of them that are not common in these."""
    holding: Counter[str] = Counter()
    number = 0
    for text in completions:
        number += 1
        holding.update(words_of(text))
    common = {word for word, count in holding.items() if count > COMMON_SHARE * number}
    return {
        "length": len,
        "words": lambda text: len(words_of(text)),
        "content": lambda text: len(words_of(text) - common),
    }


def words_of(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def _gaps(records: Sequence[Preference], counts: Mapping[str, Count]) -> dict[str, Floats]:
    """By count, the differences of each two completions, record by record."""
    found: dict[str, list[float]] = {name: [] for name in counts}
    for record in records:
        for name, count in counts.items():
            counted = [count(completion.text) for completion in record.ranked]
            found[name] += [a - b for a, b in combinations(counted, 2)]
    return {name: np.array(gaps, dtype=float) for name, gaps in found.items()}


def _right(gap: Floats, truth: Floats) -> Floats:
    return (np.sign(gap) * np.sign(truth) + 1) / 2


def _clustered(better: Floats, clear: NDArray[np.bool_]) -> Difference:
    """The mean over the clear entries and its standard error, clustered by row."""
    total = int(clear.sum())
    mean = float(better[clear].sum() / total)
    units = ((better - mean) * clear).sum(axis=1)
    return Difference(mean, math.sqrt(float((units**2).sum())) / total)

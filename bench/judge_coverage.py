"""How often the 95 % intervals of `overopt judge agreement` hold the true value, over simulated judges.

    python bench/judge_coverage.py examples/data/llmbar_*.json > bench/judge_coverage.md

A simulated judge sees pairs drawn with replacement from the files, which give labels and lengths, in both orders. Its
reply is invalid, a tie, or prefers the better text by a logistic model of its skill, the pair's difficulty, and its
pulls towards the first and towards the longer text. The true values are sums over everything that can happen.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measuring import machine
from numpy.typing import NDArray
from scipy.optimize import minimize

from overopt.statistics import (
    Estimate,
    agreement,
    kappa,
    length_bias,
    length_controlled,
    length_slope,
    mean_outcome,
    order_consistency,
    position_bias,
    wilson,
)
from overopt.tasks.formats.files import read_rows
from overopt.types import Dropped

Floats = NDArray[np.float64]
BAND = (0.93, 0.97)
WANTED = ("accuracy", "kappa", "position bias", "agreement of two judges", "win rate")
"""The quantities that the band is asked of; the rest is shown with them."""
REPLIES = np.array([1.0, 0.5, 0.0, np.nan])
"""Which of a pair's texts, in the file's order, a reply prefers."""


# --- Pairs and judges


@dataclass(frozen=True)
class Pairs:
    """What the files say of their pairs: 1 if the human label is the first text, and its length less the second's."""

    human: Floats
    longer_by: Floats

    @property
    def pull(self) -> Floats:
        return np.tanh(self.longer_by / np.sqrt((self.longer_by**2).mean()))


@dataclass(frozen=True)
class SimulatedJudge:
    """The log-odds of the better text of a middling pair, and what else moves a reply."""

    skill: float
    towards_first: float
    towards_longer: float
    ties: float
    """Share of valid replies that are a tie."""
    invalid: float
    """Share of invalid replies on easy and middling pairs; hard ones have twice as many."""
    spread: float
    """How much easier the easy pairs are, and how much harder the hard ones; a third each."""

    def replies(self, pairs: Pairs) -> Floats:
        """P(reply) by pair, difficulty (easy, middling, hard), order (first text first, second), and `REPLIES`."""
        better = 2 * pairs.human[:, None, None] - 1
        easier = np.array([self.spread, 0.0, -self.spread])[:, None]
        order = np.array([self.towards_first, -self.towards_first])
        logit = better * (self.skill + easier) + self.towards_longer * pairs.pull[:, None, None] + order
        first = 1 / (1 + np.exp(-logit))
        invalid = np.broadcast_to(np.array([1.0, 1.0, 2.0])[:, None] * self.invalid, first.shape)
        chosen = (1 - invalid) * (1 - self.ties)
        return np.stack([chosen * first, (1 - invalid) * self.ties, chosen * (1 - first), invalid], axis=-1)


def typical(random: np.random.Generator) -> SimulatedJudge:
    """Judges from a coin to about 95 % right, most of which prefer the first text and the longer one."""
    return SimulatedJudge(
        skill=random.uniform(0, 3.5),
        towards_first=random.uniform(-0.75, 1.5),
        towards_longer=random.uniform(-0.5, 1.0),
        ties=random.uniform(0, 0.15),
        invalid=random.uniform(0, 0.05),
        spread=random.uniform(0, 2),
    )


def excellent(random: np.random.Generator) -> SimulatedJudge:
    """Judges that are right in 97 to 99.8 % of the pairs."""
    return SimulatedJudge(random.uniform(3.5, 6), random.uniform(0, 0.5), 0.0, 0.0, random.uniform(0, 0.05), 0.0)


SINGLE = {
    "a coin": SimulatedJudge(0, 0, 0, 0, 0.02, 0),
    "first text in 85 %": SimulatedJudge(0.5, 1.9, 0, 0, 0.02, 0),
    "right in 75 %, a third ties": SimulatedJudge(1.5, 0.3, 0.3, 0.33, 0.02, 1),
    "right in 90 %": SimulatedJudge(2.4, 0.2, 0, 0.02, 0.02, 0.5),
    "right in 98 %": SimulatedJudge(3.9, 0, 0, 0, 0.02, 0),
}
"""Judges one by one, since intervals may hold on average over judges and yet fail for some."""


# --- Draws and truths


def draw(
    replies: Floats, pairs: NDArray[np.int64], difficulty: NDArray[np.int64], random: np.random.Generator
) -> Floats:
    """A reply for each pair and order."""
    chances = replies[pairs, difficulty].cumsum(axis=-1)
    return REPLIES[(random.random(chances.shape[:-1])[..., None] > chances[..., :-1]).sum(axis=-1)]


def towards_first(replies: Floats) -> Floats:
    """What the statistics read: 1 if a reply prefers the text that stands first in its order."""
    return np.stack([replies[:, 0], 1 - replies[:, 1]], axis=1)


OUTCOMES = np.array([0.0, 0.25, 0.5, 0.75, 1.0])


def outcome_chances(replies: Floats) -> Floats:
    """P(outcome) by pair, difficulty and `OUTCOMES`; what is missing from 1 is invalid."""
    chances = np.zeros((*replies.shape[:2], OUTCOMES.size))
    for i, one in enumerate(REPLIES[:3]):
        for j, other in enumerate(REPLIES[:3]):
            chances[..., round(2 * (one + other))] += replies[:, :, 0, i] * replies[:, :, 1, j]
    return chances


def truths(pairs: Pairs, a: Floats, b: Floats) -> dict[str, float]:
    """The values that estimates from ever more pairs approach."""
    of_a, of_b = outcome_chances(a), outcome_chances(b)
    valid, mean = of_a.sum(), of_a @ OUTCOMES
    human = np.broadcast_to(pairs.human[:, None], mean.shape)
    right = 1 - np.abs(OUTCOMES - pairs.human[:, None, None])
    accuracy = float((of_a * right).sum() / valid)
    share = of_a.sum(axis=(0, 1)) / valid
    base = (of_a.sum(axis=-1) * human).sum() / valid  # of the pairs with a valid outcome
    by_chance = float(share @ (base * OUTCOMES + (1 - base) * (1 - OUTCOMES)))
    both = np.einsum("nku,nkv->uv", of_a, of_b)
    both /= both.sum()
    equal = 1 - np.abs(OUTCOMES[:, None] - OUTCOMES)
    agreed, expected = float((both * equal).sum()), float(both.sum(axis=1) @ equal @ both.sum(axis=0))
    first = a[:, :, 0, 0] + a[:, :, 1, 2] + (a[:, :, 0, 1] + a[:, :, 1, 1]) / 2
    consistent = a[:, :, 0, 0] * a[:, :, 1, 0] + a[:, :, 0, 1] * a[:, :, 1, 1] + a[:, :, 0, 2] * a[:, :, 1, 2]
    unequal = pairs.longer_by != 0
    excess = np.sign(pairs.longer_by)[:, None] * (mean - of_a.sum(axis=-1) * human)
    by_pair = of_a.sum(axis=(1, 2)), mean.sum(axis=1)
    relative = np.tanh(pairs.longer_by / pairs.longer_by.std())
    at_equal_length = float(_fit(np.column_stack([np.ones_like(relative), relative]), *by_pair)[0])
    residuals = mean.sum(axis=1) - of_a.sum(axis=(1, 2)) * pairs.human
    slope = float(pairs.pull @ residuals / (pairs.pull**2 @ by_pair[0]))
    return {
        "accuracy": accuracy,
        "kappa": (accuracy - by_chance) / (1 - by_chance),
        "position bias": float(first.sum() / (1 - a[..., 3]).sum()) - 0.5,
        "agreement of two judges": agreed,
        "win rate": float(mean.sum() / valid),
        "kappa of two judges": (agreed - expected) / (1 - expected),
        "order consistency": float(consistent.sum() / valid),
        "length bias": float(excess[unequal].sum() / of_a[unequal].sum()),
        "length-controlled win rate": float(1 / (1 + np.exp(-at_equal_length))),
        "length slope": slope,
    }


def _fit(features: Floats, weights: Floats, wins: Floats) -> Floats:
    """Coefficients of the regression on everything that can happen, each as often as it does."""

    def loss(b: Floats) -> tuple[float, Floats]:
        logit = features @ b
        value = (weights * np.logaddexp(0, logit) - wins * logit).sum()
        return float(value), (weights / (1 + np.exp(-logit)) - wins) @ features

    found: Floats = minimize(loss, np.zeros(features.shape[1]), jac=True, method="BFGS").x
    return found


def estimates(pairs: Pairs, rows: NDArray[np.int64], a: Floats, b: Floats) -> dict[str, Estimate | None]:
    """What `overopt judge agreement` computes from the replies of two judges."""
    human, longer = pairs.human[rows], pairs.longer_by[rows]
    outcome, other = a.mean(axis=1), b.mean(axis=1)
    ours, both = np.isfinite(outcome), np.isfinite(outcome + other)
    return {
        "accuracy": agreement(outcome[ours], human[ours]),
        "kappa": kappa(outcome[ours], human[ours]),
        "position bias": position_bias(towards_first(a)),
        "agreement of two judges": agreement(outcome[both], other[both]),
        "win rate": mean_outcome(outcome[ours]),
        "kappa of two judges": kappa(outcome[both], other[both]),
        "order consistency": order_consistency(towards_first(a)),
        "length bias": length_bias(outcome[ours], human[ours], longer[ours]),
        "length-controlled win rate": length_controlled(outcome[ours], longer[ours]),
        "length slope": length_slope(outcome[ours], human[ours], longer[ours]),
    }


def simpler(pairs: Pairs, rows: NDArray[np.int64], a: Floats, b: Floats) -> dict[str, Estimate | None]:
    """The intervals that come to mind first."""
    outcome = a.mean(axis=1)
    right = 1 - np.abs(outcome - pairs.human[rows])
    right, outcome, human = (x[np.isfinite(outcome)] for x in (right, outcome, pairs.human[rows]))
    first = towards_first(a)
    replies = first[np.isfinite(first)]
    low, high = wilson(float(replies.sum()), replies.size)
    found = kappa(outcome, human)
    if found is None:
        return {}
    wrong = 1 - right.mean()  # Cohen's own standard error, of 1960, is sqrt(wrong right / n) / (1 - expected)
    margin = 1.96 * np.sqrt(right.mean() / (wrong * right.size)) * (1 - found.value) if wrong else 0.0
    return {
        "accuracy": Estimate(float(right.mean()), *wilson(float(right.sum()), right.size), right.size),
        "kappa": Estimate(found.value, float(found.value - margin), float(found.value + margin), found.n),
        "position bias": Estimate(float(replies.mean()) - 0.5, low - 0.5, high - 0.5, replies.size),
        "win rate": Estimate(float(outcome.mean()), *wilson(float(outcome.sum()), outcome.size), outcome.size),
    }


# --- Coverage


@dataclass
class Count:
    """How the intervals of one quantity fared."""

    held: int = 0
    above: int = 0
    """The true value lies above the interval."""
    below: int = 0
    width: float = 0.0

    @property
    def judges(self) -> int:
        return self.held + self.above + self.below

    def add(self, found: Estimate, true: float) -> None:
        self.width += found.high - found.low
        self.above += true > found.high + 1e-12
        self.below += true < found.low - 1e-12
        self.held += found.low - 1e-12 <= true <= found.high + 1e-12


Counts = Mapping[str, Count]


def coverage(
    pairs: Pairs, n: int, judges: int, kind: Callable[[np.random.Generator], SimulatedJudge], seed: int
) -> tuple[Counts, Counts]:
    """Counts over so many judges, each on n pairs of its own and with a second judge: of our intervals, and simpler."""
    random = np.random.default_rng(seed)
    ours: dict[str, Count] = defaultdict(Count)
    plain: dict[str, Count] = defaultdict(Count)
    for _ in range(judges):
        chances = [kind(random).replies(pairs) for _ in range(2)]
        rows, difficulty = random.integers(len(pairs.human), size=n), random.integers(3, size=n)
        replies = [draw(one, rows, difficulty, random) for one in chances]
        true = truths(pairs, *chances)
        for counts, method in ((ours, estimates), (plain, simpler)):
            for name, found in method(pairs, rows, *replies).items():
                if found is not None:
                    counts[name].add(found, true[name])
    return ours, plain


Setting = tuple[Pairs, int, Callable[[np.random.Generator], SimulatedJudge]]


def covered(settings: Mapping[str, Setting], judges: int) -> dict[str, tuple[Counts, Counts]]:
    return {
        name: coverage(pairs, n, judges, kind, seed) for seed, (name, (pairs, n, kind)) in enumerate(settings.items())
    }


def read_pairs(paths: list[Path]) -> Pairs:
    rows = [row for path in paths for _, row in read_rows(path, Dropped())]
    human = [float(int(row["label"]) == 1) for row in rows]
    return Pairs(np.array(human), np.array([float(len(row["output_1"]) - len(row["output_2"])) for row in rows]))


def table(columns: Mapping[str, Counts]) -> list[str]:
    names = list(dict.fromkeys(name for counts in columns.values() for name in counts))
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name in names:
        cells = [_cell(counts[name]) if name in counts else "" for counts in columns.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _cell(count: Count) -> str:
    shares = [f"{100 * part / count.judges:.1f}" for part in (count.held, count.above, count.below)]
    return f"{shares[0]} % ({shares[1]}, {shares[2]}), {count.width / count.judges:.3f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path, nargs="+", help="files in LLMBar's format")
    parser.add_argument("--judges", type=int, default=1000)
    options = parser.parse_args()
    everything = read_pairs(options.pairs)
    n = len(everything.human)
    files = {path.stem: read_pairs([path]) for path in options.pairs}
    settings: dict[str, Setting] = {
        **{f"{name}, n = {len(pairs.human)}": (pairs, len(pairs.human), typical) for name, pairs in files.items()},
        **{f"all, n = {size}": (everything, size, typical) for size in (n, 30, 1000)},
        **{f"right in 97 to 99.8 %, n = {size}": (everything, size, excellent) for size in (n, 30)},
    }
    single: dict[str, Setting] = {name: (everything, n, lambda _, one=one: one) for name, one in SINGLE.items()}
    results, of_single = covered(settings, options.judges), covered(single, options.judges)
    print("# Coverage of the intervals of `overopt judge agreement`, nominally 95 %\n")
    print(f"{options.judges:,} simulated judges a column, on the pairs of {' and '.join(files)}. {machine()}\n")
    print(
        "In a cell: share of intervals that hold the true value (it lies above the interval, below it), mean width.\n"
    )
    print(*table({name: ours for name, (ours, _) in results.items()}), "", sep="\n")
    print(
        "The same with what comes to mind first: Wilson's interval with a tie as half a win and, for the position bias,"
    )
    print("over all replies as if they were independent; kappa with Cohen's first standard error.\n")
    print(*table({name: plain for name, (_, plain) in results.items()}), "", sep="\n")
    print(f"Ours for single judges, each on {options.judges:,} samples of {n} of all pairs, compared with a second one")
    print("of its kind:\n")
    print(*table({name: ours for name, (ours, _) in of_single.items()}), sep="\n")
    missed = [
        name
        for ours, _ in list(results.values())[: len(files)]
        for name in WANTED
        if not BAND[0] <= ours[name].held / ours[name].judges <= BAND[1]
    ]
    print(f"\nOutside of 93 to 97 % on the files: {', '.join(missed) or 'none of ' + ', '.join(WANTED)}.")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())

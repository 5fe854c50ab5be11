"""How often labels, conditions, trends and intervals say something, where there is nothing to say and where there is.

    python bench/false_positives.py [--runs 2000] > bench/false_positives.md

Nothing is trained: records are drawn. In a run without an effect a prompt is won with a probability of its own, at each
checkpoint anew, and the proxy rises. "Before" are the definitions that were in use before, kept here in a few lines.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from overopt import outcomes
from overopt.outcomes import Checkpoint, label
from overopt.statistics import (
    bootstrap,
    direction,
    fall,
    interquartile_mean,
    kendall_trend,
    rise,
    seeds_interval,
    wilson,
)
from overopt.statistics.series import binned, start_end
from overopt.stopping import RecordedHistory, conditions, decide
from overopt.stopping.conditions import LabelSoFar, ProxyAlone, WinRate

Floats = NDArray[np.float64]
LOOKS = (5, 8, 20, 40)
PROMPTS = 256
PLACE = {"judge": "gold", "split": "tuning"}


# --- Runs


@dataclass
class Drawn:
    """What labels and conditions read of a run, in memory."""

    points: list[Checkpoint]
    status: str = "finished"
    path: Path = Path("drawn")
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.info["steps"] = self.points[-1].step

    def evaluations(self) -> list[dict[str, Any]]:
        first, rows = self.points[0], []
        for point in self.points:
            difference = outcomes.paired(point.outcome, first.outcome)
            rows.append({"step": point.step, **PLACE, "win_rate": float(np.mean(list(point.outcome.values())))})
            rows[-1] |= {"win_difference": difference.mean, "win_difference_se": difference.se}
        return rows

    def iter_metrics(self) -> Iterator[dict[str, Any]]:
        yield from ()


def drawn(random: np.random.Generator, looks: int, shape: Callable[[Floats], Floats], spread: float = 0.3) -> Drawn:
    """A run of so many evaluations after step 0; `shape` is the win rate's change over the share of it that passed."""
    share = np.arange(looks + 1) / looks
    own = random.normal(0, spread, PROMPTS)
    chance = np.clip(0.5 + own + shape(share)[:, None], 0, 1)
    won = random.random((looks + 1, PROMPTS)) < chance
    gold = own + shape(share)[:, None] + random.normal(0, 0.5, won.shape)
    proxy = share[:, None] + random.normal(0, 0.5, won.shape)
    columns = [dict(enumerate(row)) for row in won.astype(float).tolist()]
    return Drawn(
        [
            Checkpoint(
                step, columns[step], dict(enumerate(proxy[step].tolist())), {}, dict(enumerate(gold[step].tolist()))
            )  # type: ignore[arg-type]
            for step in range(looks + 1)
        ]
    )


def read_drawn(run: Any, until: int | None = None) -> list[Checkpoint]:
    return [point for point in run.points if until is None or point.step <= until]


def label_before(run: Drawn) -> str:
    """Every fall from a peak of two standard errors counted."""
    found = label(run)  # type: ignore[arg-type]
    numbers = found.numbers
    fell = numbers["peak_drop"] > 0 and numbers["peak_drop"] >= 2 * numbers["peak_drop_se"]
    rose = numbers["proxy_change"] > 2 * numbers["proxy_change_se"]
    return "OVER-PEAK" if found.label in ("FLAT", "STALL", "OVER-PEAK") and rose and fell else str(found.label)


class LabelBefore(LabelSoFar):
    """Stopped at the label, whatever its chance."""

    def problems(self, history: RecordedHistory) -> Iterator[str | None]:
        for row in reversed(history.evaluations):
            run = Drawn(read_drawn(history.run, row["step"])) if row["step"] else None
            yield "labeled" if run and label_before(run) in self.labels else None


BEFORE = {
    "`label`": [LabelBefore()],
    "`win_rate`": [WinRate(standard_errors=2.0)],
    "`proxy_alone`": [ProxyAlone(standard_errors=2.0)],
    "`[label, win_rate, proxy_alone]`": [LabelBefore(), WinRate(standard_errors=2.0), ProxyAlone(standard_errors=2.0)],
}
AFTER = {
    "`label`": [LabelSoFar()],
    "`win_rate`": [WinRate()],
    "`proxy_alone`": [ProxyAlone()],
    "`[label, win_rate, proxy_alone]`": [LabelSoFar(), WinRate(), ProxyAlone()],
}


def with_patience(some: Sequence[Any], patience: int) -> list[Any]:
    return [replace(condition, patience=patience) for condition in some]


def remembered(work: Callable[..., Any], known: dict[Any, Any], key: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which is asked the same of one run by several sets of conditions."""

    def ask(*arguments: Any, **named: Any) -> Any:
        asked = (work.__name__, key(*arguments, **named))
        if asked not in known:
            known[asked] = work(*arguments, **named)
        return known[asked]

    return ask


def stop_of(some: Sequence[Any], run: Drawn) -> int | None:
    """The step at which the run would end; its last one saves nothing."""
    whole = RecordedHistory(run, len(run.points), evaluations=run.evaluations())  # type: ignore[arg-type]
    steps = (point.step for point in run.points[1:-1])
    return next((step for step in steps if decide(some, whole.until(step)) is not None), None)


SHAPES: dict[str, Callable[[Floats], Floats]] = {
    "nothing changes": lambda share: 0 * share,
    "falls by .10 in all": lambda share: -0.10 * share,
    "falls by .20 in all": lambda share: -0.20 * share,
    "up by .15 at half, then back": lambda share: 0.30 * np.minimum(share, 1 - share),
    "up by .30 at half, then back": lambda share: 0.60 * np.minimum(share, 1 - share),
}


def labels_table(random: np.random.Generator, runs: int) -> None:
    print("## Labels\n")
    print("| policy | evaluations | GOOD | OVER | COLLAPSE | OVER-PEAK before | OVER-PEAK after |")
    print("|---|---|---|---|---|---|---|")
    for name, shape in SHAPES.items():
        for looks in LOOKS:
            before: Counter[str] = Counter()
            after: Counter[str] = Counter()
            for _ in range(runs if name == "nothing changes" else runs // 4):
                run = drawn(random, looks, shape)
                before[label_before(run)] += 1
                after[str(label(run).label)] += 1  # type: ignore[arg-type]
            cells = [percent(after, one) for one in ("GOOD", "OVER", "COLLAPSE")]
            cells += [percent(counts, "OVER-PEAK") for counts in (before, after)]
            print(f"| {name} | {looks} | {' | '.join(cells)} |", flush=True)
    print()


def stops_table(random: np.random.Generator, runs: int) -> None:
    print("## Conditions of `stop_when`\n")
    print("Runs that are ended, and in brackets the share of the steps that it saves.\n")
    print("| policy | evaluations | conditions | patience 2 before | after | patience 1 before | after |")
    print("|---|---|---|---|---|---|---|")
    known: dict[Any, Any] = {}
    conditions.label = remembered(label, known, lambda run, until: until)  # type: ignore[assignment]
    conditions.fall_from_peak = remembered(  # type: ignore[assignment]
        outcomes.fall_from_peak, known, lambda columns: (id(columns[-1]), len(columns))
    )
    globals()["label_before"] = remembered(label_before, known, lambda run: run.points[-1].step)
    for name, shape in SHAPES.items():
        null = name == "nothing changes"
        for looks in LOOKS:
            many = [drawn(random, looks, shape) for _ in range(runs // 4 if null else max(1, runs // 40))]
            asked = [
                (title, with_patience(chosen[title], patience))
                for title in (AFTER if null else list(AFTER)[-1:])
                for patience in (2, 1)
                for chosen in (BEFORE, AFTER)
            ]
            stops: list[list[int | None]] = [[] for _ in asked]
            for run in many:
                known.clear()
                for (_, some), found in zip(asked, stops, strict=True):
                    found.append(stop_of(some, run))
            for place in range(0, len(asked), 4):
                cells = [ended(found, looks, saving=not null) for found in stops[place : place + 4]]
                print(f"| {name} | {looks} | {asked[place][0]} | {' | '.join(cells)} |", flush=True)
    print()


def ended(stops: Sequence[int | None], looks: int, saving: bool) -> str:
    saved = sum(looks - stop for stop in stops if stop is not None) / looks / len(stops)
    return f"{sum(stop is not None for stop in stops) / len(stops):.1%}" + f" ({saved:.0%})" * saving


def percent(counts: Counter[str], name: str) -> str:
    return f"{counts[name] / max(1, counts.total()):.1%}"


# --- Series


def autoregressive(phi: float) -> Callable[[np.random.Generator, int], Floats]:
    def draw(random: np.random.Generator, count: int) -> Floats:
        noise = random.standard_normal(count)
        z = noise.copy()
        z[0] /= math.sqrt(1 - phi**2) if phi < 1 else 1
        for t in range(1, count):
            z[t] = phi * z[t - 1] + noise[t]
        return z

    return draw


def plus(
    draw: Callable[[np.random.Generator, int], Floats], shape: Callable[[Floats], Floats]
) -> Callable[[np.random.Generator, int], Floats]:
    return lambda random, count: draw(random, count) + shape(np.linspace(0, 1, count))


SERIES: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "independent noise": autoregressive(0.0),
    "AR(.5)": autoregressive(0.5),
    "AR(.9)": autoregressive(0.9),
    "random walk": autoregressive(1.0),
    "random walk, and noise of 3 of its steps": lambda random, n: (
        autoregressive(1.0)(random, n) + 3 * random.standard_normal(n)
    ),
    "a line up by 3 sd of its noise": plus(autoregressive(0.0), lambda s: 3 * s),
    "a line up by 6 sd of its noise": plus(autoregressive(0.0), lambda s: 6 * s),
    "saturating, up by 6 sd of its noise": plus(autoregressive(0.0), lambda s: 6 * (1 - np.exp(-5 * s))),
    "a line up by 6 sd of its AR(.9)": plus(autoregressive(0.9), lambda s: 6 * s / math.sqrt(1 - 0.81)),
    "random walk with a drift of 5 sd of its end": lambda random, n: (
        autoregressive(1.0)(random, n) / math.sqrt(n) + 5 * np.linspace(0, 1, n)
    ),
}


def trend_before(steps: Floats, values: Floats) -> str:
    x, z = binned(steps, values)
    tau, p = kendalltau(x, z) if len(x) > 1 else (0.0, 1.0)
    return "none" if not p < 0.01 or abs(tau) < 0.3 else "up" if tau > 0 else "down"


def rise_before(values: Floats) -> bool:
    s = start_end(values)
    return bool(s.end - s.start > 2 * s.se)


def series_table(random: np.random.Generator, runs: int) -> None:
    print("## Trends, rises and falls of a metric\n")
    print(
        "| series | points | trend up, down: before | after | rise, fall: before | after |\n|---|---|---|---|---|---|"
    )
    for name, draw in SERIES.items():
        for count in (*LOOKS, 80, 200, 1000):
            steps = np.arange(count)
            many = [draw(random, count) for _ in range(runs // 2)]
            old, new = [trend_before(steps, z) for z in many], [direction(kendall_trend(steps, z)) for z in many]
            shares = [[f"{said.count(way) / len(many):.1%}" for way in ("up", "down")] for said in (old, new)]
            shares.append([f"{np.mean([rise_before(sign * z) for z in many]):.1%}" for sign in (1, -1)])
            shares.append([f"{np.mean([test(z) for z in many]):.1%}" for test in (rise, fall)])
            print(f"| {name} | {count} | " + " | ".join(", ".join(pair) for pair in shares) + " |", flush=True)
    print()


# --- Intervals

VALUES: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Floats]] = {
    "normal": lambda random, size: random.standard_normal(size),
    "uniform": lambda random, size: random.random(size),
    "skewed (gamma of shape 4)": lambda random, size: random.gamma(4.0, size=size),
    "very skewed (exponential)": lambda random, size: random.exponential(size=size),
    "heavy tails (t of 3 df)": lambda random, size: random.standard_t(3, size),
}


def intervals_table(random: np.random.Generator, runs: int) -> None:
    print("## Intervals over seeds, nominally 95 %\n")
    print("| values | seeds | mean: percentile bootstrap, before | after | interquartile mean: before | after |")
    print("|---|---|---|---|---|---|")
    for name, draw in VALUES.items():
        large = draw(np.random.default_rng(0), (4_000_000,))
        truths = float(large.mean()), float(interquartile_mean(large))
        for seeds in (3, 5, 10, 20):
            cells = []
            many = [draw(random, (seeds,)) for _ in range(runs)]
            for statistic, truth in ((None, truths[0]), (interquartile_mean, truths[1])):
                old = [bootstrap(z, statistic, resamples=500) for z in many[: runs // 4]]
                new = [seeds_interval(z, trimmed=statistic is not None) for z in many]
                cells += [f"{np.mean([low <= truth <= high for low, high in some]):.1%}" for some in (old, new)]
            print(f"| {name} | {seeds} | {' | '.join(cells)} |", flush=True)
    print("\n## Wilson's interval of a win rate, nominally 95 %\n\n| prompts | rate .5 | .2 | .05 |\n|---|---|---|---|")
    for prompts in (32, 64, 256):
        cells = []
        for rate in (0.5, 0.2, 0.05):
            wins = random.binomial(prompts, rate, 20 * runs)
            bounds = np.array([wilson(k, prompts) for k in range(prompts + 1)])[wins]
            cells.append(f"{np.mean((bounds[:, 0] <= rate) & (rate <= bounds[:, 1])):.1%}")
        print(f"| {prompts} | {' | '.join(cells)} |")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--parts", nargs="+", default=["labels", "stops", "series", "intervals"])
    options = parser.parse_args()
    outcomes.checkpoints = conditions.checkpoints = read_drawn  # type: ignore[assignment]
    print(HEAD)
    tables = {"labels": labels_table, "stops": stops_table, "series": series_table, "intervals": intervals_table}
    for part in options.parts:
        tables[part](np.random.default_rng(0), options.runs)


HEAD = """# How often nothing is called something

Made by `python bench/false_positives.py --runs 1000 > bench/false_positives.md`; `--parts` makes one of the four
tables. Of R runs a share p has a standard error of sqrt(p (1 - p) / R): .5 % for 2.5 % of a thousand. Before: the
definitions until then. 256 prompts a run; "evaluations" are those after step 0.

- **Labels** aim at no more than 2.5 % each where nothing changes. GOOD, OVER and COLLAPSE compare two evaluations, at
  two standard errors. OVER-PEAK compares the last with the best of all, by the distribution of the largest of so many
  differences with the correlation that these have over the prompts.
- **Conditions** aim at no more than 5 % of the runs for all of them together. `label`, `win_rate` and `proxy_alone`
  share that evenly and spend it by the share of the planned steps that has passed. This holds with patience 1; a
  patience of 2 is then caution on top, and costs some of what a stop saves. Given `standard_errors`, a condition is
  as before. `kl`, `entropy`, `nan` and `wall_time` are limits on what was measured, and have no rate.
- **Trends** (Kendall's tau at least .3, p below .01, from nine bins: 36 points after the first tenth) and **rises**
  aim at no more than 2.5 % a side. What cannot be told from a random walk is compared with one: that costs much power
  in short series, and where noise itself keeps nine tenths of its past. A random walk under noise larger than its
  steps is not seen as one before some hundred points, and is still called a trend too often there.
- **Intervals over seeds** aim at 93 to 97 %. Of an exponential distribution no interval by t gets there with few
  seeds.
"""

if __name__ == "__main__":
    main()

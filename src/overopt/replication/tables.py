"""Markdown tables of a study: claims with their verdicts, runs over seeds, and the reward models behind them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from overopt.outcomes import JUDGED_STAGES
from overopt.replication.members import Member, Members, Setting
from overopt.statistics import seeds_interval

ABSENT = "-"

RUN_HEADER = ("row", "setting", "labels", "SFT's win rate", "win rate (95 %)", "KL", "proxy")
BASELINES = {"length": "characters", "words": "different words", "content": "content words"}
"""Counts with which every reward model is compared, by the name that the records give them."""
MODEL_HEADER = ("row", "seed", "accuracy", "agreement", "ceiling", *BASELINES.values(), "above all counts, SE")

CLAIM_HEADER = ("claim", "statement", "verdict", "seeds", "why", "closest numbers", "runs")
CLOSEST = 2
"""Numbers of a claim that the table shows: those nearest to their thresholds, on which the verdict hangs."""


def runs_table(members: Members) -> str:
    """A line for each row and setting of policies.

    It has the number of seeds by label, the mean win rates of step 0 and of the last evaluation over seeds, the
    latter with its interval by Student's t, and the means of the last KL to the reference (nats) and of the change of
    the proxy's mean score.
    """
    settings = {(row, tuple(sorted(setting.items()))): setting for row, setting, _ in members.planned}
    lines = []
    for (row, _), setting in settings.items():
        runs = [run for run in members.of(row, **setting) if run.setting == setting]
        if all(run.stage in JUDGED_STAGES for run in runs):
            count = sum((r, s) == (row, setting) for r, s, _ in members.planned)
            lines.append((row, setting_text(setting), *_over_seeds(runs, count)))
    return markdown_table(RUN_HEADER, lines, right=RUN_HEADER[3:])


def reward_models_table(members: Members) -> str:
    """A line for each reward model and seed: how it orders held-out pairs, and how mere counts order them.

    Accuracy is against the labels, agreement against gold; the ceiling is the labels' own agreement with gold. The
    last column is by how many standard errors the model is better than the count that comes closest.
    """
    models = [run for row in members.rows() for run in members.of(row) if run.stage == "reward_model"]
    lines = []
    for run in models:
        last = run.evaluations[-1] if run.evaluations else {}
        names = ["accuracy", "gold_agreement", "label_ceiling", *(f"baseline_{name}_agreement" for name in BASELINES)]
        shares = [_number(last.get(name), ".3f") for name in names]
        lines.append((run.row, str(run.seed), *shares, _number(last.get("above_baselines"), "+.1f")))
    return markdown_table(MODEL_HEADER, lines, right=MODEL_HEADER[1:])


def claims_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for each row of `overopt claims --json`.

    Seeds: on how many single seeds the test comes out true, with the 95 % interval of that share. Runs: how many, by
    row of the study.
    """
    lines = [
        (
            row["id"],
            row["statement"],
            f"**{row['verdict']}**",
            _share(row["seeds"]),
            row["reason"],
            _closest(row["numbers"]),
            _by_row(row["runs"]),
        )
        for row in rows
    ]
    return markdown_table(CLAIM_HEADER, lines)


def setting_text(setting: Setting) -> str:
    """`coef = 0.1, epochs = 2`."""
    return ", ".join(f"{name} = {_plain(value)}" for name, value in setting.items()) or ABSENT


def markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]], *, right: Collection[str] = ()) -> str:
    """A table of GitHub's Markdown, ending with a newline. Cells may hold anything; columns in `right` are numbers."""
    rule = ["---:" if name in right else "---" for name in header]
    cells = [header, rule, *([_cell(cell) for cell in line] for line in lines)]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def _over_seeds(runs: Sequence[Member], planned: int) -> tuple[str, ...]:
    """Cells from the labels on, over the seeds of one row and setting."""
    labels: Counter[str] = Counter(run.outcome.label or ("behind a gate" if run.gate else "unlabeled") for run in runs)
    labels["missing"] = planned - len(runs)
    counts = ", ".join(f"{label} {count}" for label, count in labels.most_common() if count)
    judged = [found for run in runs if len(found := [row for row in run.evaluations if "win_rate" in row]) > 1]
    first, last = [rows[0] for rows in judged], [rows[-1] for rows in judged]
    proxies = [(a.get("proxy_mean"), b.get("proxy_mean")) for a, b in zip(first, last, strict=True)]
    changes = [b - a for a, b in proxies if a is not None and b is not None]
    return (
        counts,
        _mean([row["win_rate"] for row in first], ".2f"),
        with_interval([row["win_rate"] for row in last]),
        _mean([row["kl_ref"] for row in last if row.get("kl_ref") is not None], ".3g"),
        _mean(changes, "+.2f"),
    )


def with_interval(rates: Sequence[float]) -> str:
    """Mean of shares over seeds with its 95 % interval, within 0 and 1: `0.62 (0.41 to 0.83)`."""
    if not rates:
        return ABSENT
    low, high = (min(1.0, max(0.0, float(bound))) if math.isfinite(bound) else None for bound in seeds_interval(rates))
    interval = "" if low is None or high is None else f" ({low:.2f} to {high:.2f})"
    return f"{np.mean(rates):.2f}{interval}"


def _share(seeds: Mapping[str, Any] | None) -> str:
    if not seeds or not seeds["tested"]:
        return ABSENT
    return f"{seeds['held']}/{seeds['tested']} ({seeds['low']:.2f} to {seeds['high']:.2f})"


def _closest(numbers: Sequence[Mapping[str, Any]]) -> str:
    """`win rate less SFT's: -0.45 (SE 0.02, margin +0.41)`; margins are how far a value lies beyond its threshold."""
    known = {_said(number): number.get("margin") for number in numbers if number.get("value") is not None}
    said = sorted(known, key=lambda text: math.inf if (margin := known[text]) is None else abs(margin))
    more = [f"{len(said) - CLOSEST} more"] if len(said) > CLOSEST else []
    return "; ".join([*said[:CLOSEST], *more])


def _said(number: Mapping[str, Any]) -> str:
    more = [f"SE {number['se']:.2g}"] if number.get("se") is not None else []
    more += [f"margin {number['margin']:+.2g}"] if number.get("margin") is not None else []
    return f"{number['what']}: {number['value']:.3g}" + (f" ({', '.join(more)})" if more else "")


def _by_row(runs: Sequence[str]) -> str:
    """`KL-1B: 5, ME-1B-1e-6: 20` from the names of runs, such as `ME-1B-1e-6-coef=0.5-seed=100`."""
    counts = Counter(re.split(r"-\w+=", run)[0] for run in runs)
    return ", ".join(f"{row}: {count}" for row, count in counts.items())


def _mean(values: Sequence[float], form: str) -> str:
    return _number(float(np.mean(values)) if values else None, form)


def _number(value: float | None, form: str) -> str:
    return ABSENT if value is None else f"{value:{form}}"


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    """Text that stays within its cell."""
    return " ".join(text.split()).replace("|", "\\|") or ABSENT

"""How two runs of a study differ, and how much of that spread is due to seeds and how much to prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np

from overopt.errors import UserError
from overopt.replication.members import Member, Members
from overopt.statistics import Floats
from overopt.statistics.power import Comparison

Wins = Mapping[str, float]


@dataclass(frozen=True)
class Spread:
    """What a study measured of two of its runs."""

    runs: tuple[str, str]
    base: float
    """Mean win rate of the second run over seeds."""
    comparison: Comparison
    sd_low: float
    sd_high: float
    """95 % interval of the standard deviation over seeds."""
    seeds: tuple[int, ...]
    prompts: int
    """Least number of prompts of a seed."""

    def title(self) -> str:
        """What was measured, in two lines."""
        found = self.comparison
        return (
            f"{self.runs[0]} against {self.runs[1]}, over {len(self.seeds)} seeds\n"
            f"measured: {found.difference:+.3f} from a win rate of {self.base:.3f}; sd over seeds {found.sd_seeds:.3f} "
            f"(95 %: {self.sd_low:.3f} to {self.sd_high:.3f})"
        )

    def row(self) -> dict[str, Any]:
        """The same for JSON."""
        return {
            "runs": list(self.runs),
            "seeds": list(self.seeds),
            "prompts": self.prompts,
            "base": self.base,
            **asdict(self.comparison),
            "sd_seeds_low": self.sd_low,
            "sd_seeds_high": self.sd_high,
        }


def measure(members: Members, first: str, second: str | None = None) -> Spread:
    """Compare the last evaluations of two runs, or of one run with its own first, over the seeds that both have.

    A run is named by its row and setting: `KL-1B`, `ME-1B-1e-6:coef=0.5`. The variance over seeds is that of their
    differences less what prompts add to it, which is known from the differences within seeds; its interval is by
    chi^2, for seeds that are normal. Runs behind a closed gate are left out. UserError for names that are not one run,
    and for fewer than two seeds.
    """
    ours = {run.seed: _last(run) for run in _runs(members, first)}
    if second is None:
        others = {run.seed: run.won[min(run.won)] for run in _runs(members, first)}
    else:
        others = {run.seed: _last(run) for run in _runs(members, second)}
    seeds = tuple(sorted(seed for seed in ours.keys() & others.keys() if ours[seed].keys() & others[seed].keys()))
    names = (first, "its own first evaluation" if second is None else second)
    if len(seeds) < 2:
        raise UserError(
            f"{names[0]} and {names[1]} share prompts under {len(seeds)} seed{'' if len(seeds) == 1 else 's'}; "
            "a spread over seeds takes two"
        )
    return _spread(names, seeds, [_differences(ours[seed], others[seed]) for seed in seeds])


def _differences(a: Wins, b: Wins) -> tuple[Floats, float]:
    """Differences by prompt, and the mean of b."""
    both = sorted(a.keys() & b.keys())
    values = np.array([b[prompt] for prompt in both])
    return np.array([a[prompt] for prompt in both]) - values, float(values.mean())


def _spread(runs: tuple[str, str], seeds: tuple[int, ...], found: list[tuple[Floats, float]]) -> Spread:
    from scipy.stats import chi2

    means = np.array([d.mean() for d, _ in found])
    within = float(np.mean([d.var(ddof=1) if d.size > 1 else 0.0 for d, _ in found]))
    of_prompts = float(np.mean([d.var(ddof=1) / d.size if d.size > 1 else 0.0 for d, _ in found]))
    freedom = len(seeds) - 1
    variance = float(means.var(ddof=1))
    bounds = [variance * freedom / float(chi2.isf(level, freedom)) for level in (0.025, 0.975)]
    sd, low, high = (sqrt(max(0.0, bound - of_prompts)) for bound in (variance, *bounds))
    return Spread(
        runs=runs,
        base=float(np.mean([mean for _, mean in found])),
        comparison=Comparison(float(means.mean()), sd, sqrt(within)),
        sd_low=low,
        sd_high=high,
        seeds=seeds,
        prompts=min(d.size for d, _ in found),
    )


def _last(run: Member) -> Wins:
    return run.won[max(run.won)]


def _runs(members: Members, name: str) -> list[Member]:
    """The judged runs of one row in one setting."""
    row, _, text = name.partition(":")
    if row not in members.rows():
        raise UserError(f"{row}: no row of this study; it has {', '.join(members.rows())}")
    wanted = dict(part.partition("=")[::2] for part in text.split(",") if part)
    settings = {tuple(setting.items()): setting for r, setting, _ in members.planned if r == row}
    fitting = [s for s in settings.values() if all(_same(s.get(key), value) for key, value in wanted.items())]
    if len(fitting) != 1:
        names = ", ".join(_name(row, setting) for setting in settings.values())
        raise UserError(
            f"{name}: {'fits several settings' if fitting else 'no setting of this row'}; name one of {names}"
        )
    runs = [run for run in members.of(row, **fitting[0]) if run.setting == fitting[0]]
    return [run for run in runs if any(run.won.values()) and not run.gate]


def _same(value: float | str | None, text: str) -> bool:
    if value is None or isinstance(value, str):
        return value == text
    try:
        return float(text) == value
    except ValueError:
        return False


def _name(row: str, setting: Mapping[str, float | str]) -> str:
    parts = [f"{key}={value if isinstance(value, str) else f'{value:g}'}" for key, value in setting.items()]
    return row + (f":{','.join(parts)}" if parts else "")

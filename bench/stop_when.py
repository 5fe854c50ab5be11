"""Where conditions of `stop_when` would have ended finished demo runs, and which of those stops were false.

    python bench/stop_when.py RUNS_FOLDER... > bench/stop_when.md

Each folder holds a demo's runs. `none` and `maxent-2` over-optimize there and should be ended; `kl` should not: a stop
of a run is counted as false if the whole run is labeled neither over-optimized nor collapsed, and on `kl` in any case.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from overopt.outcomes import COLLAPSED, OVER_OPTIMIZED, label
from overopt.records import Run, load_run
from overopt.stopping import Stop, replay
from overopt.stopping.conditions import Entropy, KLBudget, LabelSoFar, NotFinite, ProxyAlone, WinRate

RUNS = ("none", "maxent-2", "kl")
KEPT = "kl"
DEFAULT = [LabelSoFar(), WinRate(), ProxyAlone()]
CONDITIONS: dict[str, list[Any]] = {
    "`label`": [LabelSoFar()],
    "`label`, patience 1": [LabelSoFar(patience=1)],
    "`win_rate`": [WinRate()],
    "`win_rate`, patience 1": [WinRate(patience=1)],
    "`win_rate`, standard_errors 2": [WinRate(standard_errors=2.0)],
    "`proxy_alone`": [ProxyAlone()],
    "`proxy_alone`, patience 1": [ProxyAlone(patience=1)],
    "`proxy_alone`, standard_errors 2": [ProxyAlone(standard_errors=2.0)],
    "`kl`, budget 10": [KLBudget(budget=10.0)],
    "`entropy`, low 0.1": [Entropy(low=0.1)],
    "`nan`": [NotFinite()],
    "`label`, `win_rate`, `proxy_alone`": DEFAULT,
    "the same, patience 1": [LabelSoFar(patience=1), WinRate(patience=1), ProxyAlone(patience=1)],
}


@dataclass(frozen=True)
class Replayed:
    run: Run
    stop: Stop | None

    @property
    def steps(self) -> int:
        return int(self.run.info["steps"])

    @property
    def saved(self) -> int:
        return 0 if self.stop is None else self.steps - self.stop.step

    @property
    def is_false(self) -> bool:
        went_wrong = label(self.run).label in (*OVER_OPTIMIZED, COLLAPSED)
        return self.stop is not None and (self.run.name == KEPT or not went_wrong)


def main(folders: Sequence[Path]) -> None:
    runs = {name: [load_run(folder / name) for folder in folders] for name in RUNS}
    print("# Ending runs in time\n")
    print(f"Replayed over the finished runs of {len(folders)} tuning seeds of the demo, {steps_of(runs)} updates each.")
    print("Stopped: runs that would have ended early; saved: updates that these and the others would not have made, of")
    print("all; false: stops of a run that ended neither over-optimized nor collapsed, or of `kl`. Made by\n")
    print("    python bench/stop_when.py OUT/*/runs > bench/stop_when.md\n")
    heads = [f"`{name}`: {what}" for name in RUNS for what in ("stopped", "saved", "false")]
    print("| condition | " + " | ".join(heads) + " |\n" + "|---" * (len(heads) + 1) + "|")
    for title, conditions in CONDITIONS.items():
        cells = [cell for name in RUNS for cell in cells_of([Replayed(r, replay(conditions, r)) for r in runs[name]])]
        print(f"| {title} | " + " | ".join(cells) + " |")
    print("\nWhat `[label, win_rate, proxy_alone]` does to each run; the step to go back to has the best win rate.\n")
    print("| run | seed | label at the end | stopped at | by | go back to | win rate there | at the end |")
    print("|---|---|---|---|---|---|---|---|")
    for run in [run for name in RUNS for run in runs[name]]:
        print(line(run))


def steps_of(runs: dict[str, list[Run]]) -> str:
    return " or ".join(str(n) for n in sorted({run.info["steps"] for some in runs.values() for run in some}))


def cells_of(replayed: Sequence[Replayed]) -> list[str]:
    stopped = [each for each in replayed if each.stop is not None]
    saved = mean(each.saved for each in replayed) / mean(each.steps for each in replayed)
    return [f"{len(stopped)}/{len(replayed)}", f"{saved:.0%}", str(sum(each.is_false for each in replayed))]


def line(run: Run) -> str:
    stop = replay(DEFAULT, run)
    rates = {row["step"]: row["win_rate"] for row in run.evaluations()}
    end = f"{rates[max(rates)]:.2f}"
    start = f"| {run.name} | {run.info['seed']} | {label(run).label} "
    if stop is None:
        return start + f"| - | - | - | - | {end} |"
    return start + f"| {stop.step} | {stop.condition} | {stop.go_back_to} | {rates[stop.go_back_to]:.2f} | {end} |"


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])

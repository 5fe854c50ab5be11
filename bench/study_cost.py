"""Where the CPU seconds of a study go, by stage and size, in units of a demo on the same machine.

    python bench/study_cost.py DIR [--demo DEMO_DIR] >> bench/study_cost.md

DIR is the folder of `overopt study`, DEMO_DIR that of an `overopt demo --scale s` on the same machine. Each run's CPU
seconds are those of `run.json`. The share of the cores is that of the CPU seconds in the time from the first start to
the last end, for a study that was not interrupted.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from overopt.records import Run, find_runs, load_run
from overopt.replication.members import size_of

CORES = 2


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--demo", type=Path)
    options = parser.parse_args(arguments)
    demo = None if options.demo is None else sum(map(cpu_seconds, runs_of(options.demo)))
    print(cost_table(runs_of(options.study), demo))


def runs_of(folder: Path) -> list[Run]:
    return [load_run(path) for path in find_runs(folder / "runs")]


def cpu_seconds(run: Run) -> float:
    return float(run.info.get("cpu_seconds", 0.0))


def cost_table(runs: Sequence[Run], demo: float | None) -> str:
    """Runs and CPU seconds by stage and size, their sum, and how busy the cores were."""
    groups: dict[tuple[str, str], list[float]] = defaultdict(list)
    for run in runs:
        groups[run.stage or "?", size_of(run.name.partition("-seed=")[0]) or "second task"].append(cpu_seconds(run))
    total = sum(map(cpu_seconds, runs))
    lines = ["| stage | size | runs | CPU s | of all |", "|---|---|---:|---:|---:|"]
    for (stage, size), seconds in sorted(groups.items()):
        lines.append(f"| {stage} | {size} | {len(seconds)} | {sum(seconds):,.0f} | {sum(seconds) / total:.0%} |")
    in_demos = "" if demo is None else f", {total / demo:.1f} demos of {demo:.0f} s"
    wall = _wall_seconds(runs)
    lines += [
        "",
        f"In all {total:,.0f} CPU s{in_demos}; {wall:,.0f} s of wall time, cores {total / (CORES * wall):.0%} busy.",
    ]
    return "\n".join(lines)


def _wall_seconds(runs: Sequence[Run]) -> float:
    starts, ends = ([datetime.fromisoformat(run.info[key]) for run in runs] for key in ("started", "finished"))
    return (max(ends) - min(starts)).total_seconds()


if __name__ == "__main__":
    main()

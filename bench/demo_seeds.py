"""Runs the demo for many seeds as one list of jobs, so that every core is always busy, and counts the labels.

    python bench/demo_seeds.py --seeds 0-19 --out DIR [--scale s] [--workers N]

Appends a line per seed to DIR/seeds.jsonl as soon as it is done. Started again, it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from overopt.errors import UserError
from overopt.scheduler import Result, available_cores
from overopt.scheduler.terminal import Reporter
from overopt.studies.run import PACKAGED, StudyRun, packaged_run, run_studies
from overopt.studies.study import load_study
from overopt.studies.summary import summarize


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=seeds, required=True, help="such as 0-19 or 100,101,102")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scale")
    parser.add_argument("--workers", type=int, default=available_cores())
    options = parser.parse_args()

    scale = options.scale or load_study(PACKAGED / "demo.yaml").default_scale
    lines = options.out / "seeds.jsonl"
    known = {line["seed"]: line for line in read(lines) if line["scale"] == scale}
    studies = [
        packaged_run("demo", options.out / f"{scale}-seed-{seed}", scale, seed, prefix=f"{seed}/")
        for seed in options.seeds
        if seed not in known
    ]

    def done(study_run: StudyRun, results: dict[str, Result]) -> None:
        rows, seed = summarize(study_run, results), study_run.claim["seed"]
        line = {"seed": seed, "scale": scale, "runs": [row.summary() | {"reason": row.reason} for row in rows]}
        known[seed] = line
        with lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        reporter.say(f"seed {seed}: " + "  ".join(f"{row.run} {row.label or row.gate or '-'}" for row in rows))

    if studies:
        jobs = [job for study_run in studies for job in study_run.jobs]
        with Reporter(jobs, options.workers) as reporter:
            run_studies(studies, workers=options.workers, on_event=reporter, on_done=done)
    print_counts([known[seed] for seed in options.seeds if seed in known])
    return 0


def seeds(text: str) -> list[int]:
    """`0-3,7` as 0, 1, 2, 3, 7."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def read(lines: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []


def print_counts(lines: list[dict[str, Any]]) -> None:
    """How often each run got each label, and the win rates behind it."""
    for run in dict.fromkeys(row["run"] for line in lines for row in line["runs"]):
        rows = [row for line in lines for row in line["runs"] if row["run"] == run]
        counts = Counter(row["label"] or (f"gate {row['gate']}" if row["gate"] else "none") for row in rows)
        rates = sorted(row["win_rate"] for row in rows if row["win_rate"] is not None)
        spread = f"win rate {rates[0]:.2f} to {rates[-1]:.2f}, median {rates[len(rates) // 2]:.2f}" if rates else ""
        print(f"{run:20}", "  ".join(f"{label} {count}" for label, count in counts.most_common()), f"  {spread}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"demo_seeds: {error}")
    except KeyboardInterrupt:
        sys.exit(130)

"""Runs every example of an objective, examples/objectives/*.yaml and examples/own/*.yaml, as its YAML says: 20 updates.

    python bench/objectives.py --out DIR [--workers N] [--table FILE] [NAME ...]

First their parents, at scale xs and shortened. Checks each run: finished, all its updates, records complete, judged at
the start and at the end. Exit code 1 if one is not. A NAME is a YAML's without its ending; without any, all are run.
Started again, it goes on where it was. `--table` writes what the runs came to, as Markdown.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from overopt.config import dump, load
from overopt.errors import UserError
from overopt.records import Run, load_run
from overopt.records.legend import violations
from overopt.scheduler import Job, available_cores, run_jobs
from overopt.scheduler.terminal import Reporter
from overopt.training.stages import STAGES

EXAMPLES = Path(__file__).parents[1] / "examples"
STEPS = 20

SFT = {
    "model.hidden_size": "40",
    "model.init_std": "0.07",
    "lr": "5e-3",
    "steps": "600",
    "task.demonstration_count": "19200",
    "checkpoint_every": "600",
}
"""Scale xs of the demo, evaluated once."""
REWARD_MODEL = {"pairs.count": "2000", "epochs": "1"}
"""An eighth of the example's training."""

HEAD = f"""\
# Twenty steps of every objective

Every objective trains for {STEPS} updates of the miniature from its YAML in `examples/`, all from one SFT policy and
one reward model (seed 0, the demo's scale xs: 51 thousand parameters, 600 steps; 2,000 pairs, one epoch). This page was
written by `python bench/objectives.py --out DIR --table docs/twenty_steps.md`; `make test-objectives` runs the same and
checks that every record is complete.

**Twenty steps of one seed support no conclusions.** The table shows that each objective trains, and what it records; it
does not show which is better. Learning rates were not tuned per objective, win rates on 256 posts have a standard error
of about 0.03, and over-optimization takes longer to appear. For longer runs, see
[Which objective does what](which_objective.md).

"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=available_cores())
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()

    jobs = [*parents(options.out), *(job(path, options.out) for path in chosen(options.names))]
    with Reporter(jobs, options.workers) as reporter:
        results = run_jobs(jobs, workers=options.workers, on_event=reporter)
    failed = [f"{name}: {result.message}" for name, result in results.items() if result.status != "finished"]
    runs = {job.name: load_run(job.out) for job in jobs if results[job.name].status == "finished"}
    failed += [f"{name}: {flaw}" for name, run in runs.items() for flaw in incomplete(run)]
    if options.table is not None:
        options.table.write_text(HEAD + table(runs), encoding="utf-8")
    print("\n".join(failed) or f"{len(runs)} runs, all of them complete")
    return 1 if failed else 0


def chosen(names: Sequence[str]) -> list[Path]:
    """The YAMLs of these names, or all."""
    paths = sorted((EXAMPLES / "objectives").glob("*.yaml")) + sorted((EXAMPLES / "own").glob("*.yaml"))
    if unknown := set(names) - {path.stem for path in paths}:
        raise UserError(f"no such example: {', '.join(sorted(unknown))}")
    return [path for path in paths if not names or path.stem in names]


def parents(out: Path) -> list[Job]:
    """SFT and reward model: the examples', shortened."""
    sft = dump(load(STAGES, EXAMPLES / "sft_miniature.yaml", list(SFT.items())))
    policy = [("policy", str((out / "sft").absolute()))]
    reward_model = dump(load(STAGES, EXAMPLES / "reward_model_miniature.yaml", [*REWARD_MODEL.items(), *policy]))
    return [
        Job("sft", sft, out / "sft", cost=15),
        Job("reward_model", reward_model, out / "reward_model", ("sft",), 10),
    ]


def job(path: Path, out: Path) -> Job:
    """An example as its YAML says, but for where its parents are."""
    found = load(STAGES, path)
    here = {"policy": out / "sft"}
    if getattr(found, "reward_model", None) is not None:
        here["reward_model"] = out / "reward_model"
    if "path" in dump(found).get("pairs", {}):
        here["pairs.path"] = out / "reward_model"
    config = dump(load(STAGES, path, [(address, str(place.absolute())) for address, place in here.items()]))
    return Job(path.stem, config, out / path.stem, tuple(sorted({place.name for place in here.values()})), cost=8)


def incomplete(run: Run) -> list[str]:
    """What the record of a run lacks."""
    metrics, evaluations = list(run.iter_metrics()), run.evaluations()
    stage, steps = str(run.stage), int(run.info["steps"])
    found = violations(stage, metrics, evaluations)
    found += [f"step {row['step']}: not finite: {row['nonfinite']}" for row in metrics if "nonfinite" in row]
    if [row["step"] for row in metrics] != list(range(1, steps + 1)):
        found.append(f"{len(metrics)} updates recorded of {steps}")
    if run.path.name not in ("sft", "reward_model") and steps != STEPS:
        found.append(f"{steps} updates, not {STEPS}")
    judges = {"pairs"} if stage == "reward_model" else {"gold"} | ({"pairs"} if stage == "offline" else set())
    first = steps if stage == "sft" else 0
    for judge in sorted(judges):
        judged = {row["step"] for row in evaluations if row["judge"] == judge}
        found += [f"step {step}: not evaluated by {judge}" for step in (first, steps) if step not in judged]
    if run.checkpoints()[-1:] != [steps]:
        found.append("no checkpoint of the last step")
    return found


def table(runs: dict[str, Run]) -> str:
    """What each run began and ended with."""
    sft, reward_model = runs["sft"], runs["reward_model"]
    agreement = reward_model.evaluations()[-1]["agreement_ratio"]
    start = sft.evaluations()[-1]["win_rate"]
    lines = [
        f"The SFT policy's win rate is {start:.2f}; the reward model reaches {agreement:.2f} of what its labels allow",
        "(its training was shortened; the gate of the demo requires 0.8).",
        "Proxy: mean score of greedy completions, in standard deviations, minus that at the start. KL: to the initial",
        "policy, in nats per completion. A win is a higher gold reward than the reference's. The last four rows are",
        "the examples in `examples/own/`; two of them have another gold reward or other posts.",
        "",
        "| example | proxy gained | KL | win rate | its change (SE) |",
        "|---|---|---|---|---|",
    ]
    for name, run in runs.items():
        if run.stage in ("online", "offline"):
            rows = [row for row in run.evaluations() if row["judge"] == "gold"]
            lines.append(f"| `{name}` | " + " | ".join(_cells(rows[0], rows[-1])) + " |")
    lines += [
        "",
        "| reward model | accuracy on held-out labels | agreement with gold, of what the labels allow |",
        "|---|---|---|",
    ]
    for name, run in runs.items():
        if run.stage == "reward_model":
            last = run.evaluations()[-1]
            lines.append(f"| `{name}` | {last['accuracy']:.2f} | {last['agreement_ratio']:.2f} |")
    return "\n".join(lines) + "\n"


def _cells(first: dict[str, Any], last: dict[str, Any]) -> list[str]:
    proxies = first.get("proxy_mean"), last.get("proxy_mean")
    gained = "-" if None in proxies else f"{proxies[1] - proxies[0]:+.2f}"
    change = f"{last['win_difference']:+.2f} ({last['win_difference_se']:.2f})"
    return [gained, f"{last['kl_ref']:.2f}", f"{last['win_rate']:.2f}", change]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"objectives: {error}")
    except KeyboardInterrupt:
        sys.exit(130)

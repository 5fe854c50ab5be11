"""Where the CPU-seconds of a whole demo, and of an 80-step miniature run, go: by stage, and within an online step.

    python bench/stages.py [--out out/bench/stages] [--scale s] [--workers 1] [--table bench/stages.md]

Runs `overopt demo` (five CPU-minutes) and then its run `kl` once more by `overopt train`, alone in a fresh process, and
writes the table. A demo that stands in OUT is taken as measured there. Seconds are of processor time, user and system,
of the command and of its worker processes.

Functions of the training code are wrapped to tell the time, each its own without what it calls of the others.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

from measuring import cpu_seconds_of, machine

START, REST = "start and imports", "the rest"
POINTS = [
    ("training.stages.online", "make_step", "shaping, metrics"),
    ("training.rollout.RolloutWorker", "_collect", "texts, gold"),
    ("training.rollout", "sample_in_batches", "sampling"),
    ("training.rollout.RolloutWorker", "_score", "reward"),
    ("training.rollout", "logps_of_trees", "reference"),
    ("training.policy_step.PolicyStep", "__call__", "update"),
    ("training.stages.online", "consecutive", "kl_prev"),
    ("training.stages.offline", "ask_reference", "reference"),
    ("training.preference_step.PreferenceStep", "batch", "reference"),
    ("training.preference_step.PreferenceStep", "descend", "update"),
    ("training.stages.sft", "descend", "update"),
    ("training.stages.reward_model", "descend", "update"),
    ("training.pairs", "sample_in_batches", "sampling"),
    ("training.run.started.StartedRun", "evaluate", "evaluation"),
    ("evaluation.evaluator.Evaluator", "_proxy", "evaluation: proxy"),
    ("evaluation.evaluator.Evaluator", "_distance", "evaluation: KL"),
    ("evaluation.evaluator.Evaluator", "_reference_logp", "evaluation: references"),
    ("training.stages.offline", "_evaluate_pairs", "evaluation: pairs"),
    ("training.run.started.StartedRun", "log", "records"),
    ("training.run.started.StartedRun", "record", "records"),
    ("training.run.started.StartedRun", "keep", "checkpoints"),
    ("training.run.checkpointing.Checkpointer", "finish", "checkpoints"),
]
"""Module of `overopt` (and class in it), function, and the part that its time is counted as."""

PARTS = [
    "sampling", "reward", "texts, gold", "reference", "shaping, metrics", "update", "kl_prev", "evaluation",
    "evaluation: proxy", "evaluation: KL", "evaluation: references", "evaluation: pairs", "records", "checkpoints",
    START, REST,
]  # fmt: skip
TARGETS = {"run": 30.0, "demo": 260.0}
RUN, RESULTS = "kl", "seconds.jsonl"


class Clock:
    """Processor time by part; what is entered last takes all of it until it is left."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.open = [REST]
        self.since = time.process_time()

    def _settle(self) -> None:
        now = time.process_time()
        self.seconds[self.open[-1]] += now - self.since
        self.since = now

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def wrapper(*arguments: Any, **named: Any) -> Any:
            self._settle()
            self.open.append(part)
            try:
                return function(*arguments, **named)
            finally:
                self._settle()
                self.open.pop()

        return wrapper

    def take(self) -> dict[str, float]:
        """The seconds since the last time, and begin anew."""
        self._settle()
        taken, self.seconds = dict(self.seconds), Counter()
        return taken


_clock: Clock | None = None


def clock() -> Clock:
    """This process's, with every function of POINTS wrapped; its time before is that of start and imports."""
    global _clock
    if _clock is None:
        importlib.import_module("overopt.training.train")
        _clock = Clock()
        for where, name, part in POINTS:
            owner = owner_of(where)
            setattr(owner, name, _clock.timed(part, getattr(owner, name)))
        _clock.seconds[START] = _clock.since
    return _clock


def owner_of(where: str) -> Any:
    """The module, or the class in it, that a point names."""
    module, _, last = where.rpartition(".")
    if not last[0].isupper():
        return importlib.import_module(f"overopt.{where}")
    return getattr(importlib.import_module(f"overopt.{module}"), last)


def timed_train(config: Any, out: Path, **callbacks: Any) -> None:
    """What the demo's workers run in place of `train`: the same, and a line in RESULTS."""
    watch = clock()
    from overopt.training.train import train

    run = train(config, out, **callbacks)
    line = {"run": out.name, "stage": run.stage, "steps": run.info["steps"], "seconds": watch.take()}
    with (out.parents[1] / RESULTS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def demo_part(out: Path, scale: str, workers: int) -> int:
    """`overopt demo`, its workers timed."""
    from overopt.cli import main as overopt
    from overopt.studies.run import run_studies

    run_studies.__kwdefaults__["train"] = "stages:timed_train"
    return overopt(["demo", "--out", str(out), "--scale", scale, "--workers", str(workers)])


def run_part(file: Path, out: Path) -> int:
    """`overopt train` of one run."""
    watch = clock()
    from overopt.cli import main as overopt

    code = overopt(["train", str(file), "--out", str(out)])
    (out.parent / "run_seconds.json").write_text(json.dumps(watch.take()))
    return code


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/bench/stages"))
    parser.add_argument("--scale", default="s")
    parser.add_argument("--workers", type=int, default=1, help="one, so that they do not take each other's cache")
    parser.add_argument("--table", type=Path, default=Path("bench/stages.md"))
    parser.add_argument("--part", choices=("demo", "run"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    demo = (options.out / f"demo-{options.scale}").absolute()
    file, lone = options.out / "run.yaml", options.out / "run"
    if options.part:
        return demo_part(demo, options.scale, options.workers) if options.part == "demo" else run_part(file, lone)
    options.out.mkdir(parents=True, exist_ok=True)
    again = [sys.executable, __file__, "--out", str(options.out), "--scale", options.scale]
    again += ["--workers", str(options.workers), "--part"]
    whole = demo / "whole.json"
    if not whole.exists():
        shutil.rmtree(demo, ignore_errors=True)
        whole.write_text(json.dumps({"seconds": cpu_seconds_of([*again, "demo"], OMP_NUM_THREADS="1")}))
    write_run(demo, options.scale, file)
    shutil.rmtree(lone, ignore_errors=True)
    seconds = cpu_seconds_of([*again, "run"], OMP_NUM_THREADS="1")
    parts = json.loads((options.out / "run_seconds.json").read_text())
    lines = [json.loads(line) for line in (demo / RESULTS).read_text().splitlines()]
    text = page(json.loads(whole.read_text())["seconds"], lines, seconds, parts, options.scale)
    options.table.write_text(text, encoding="utf-8")
    print(text)
    return 0


def write_run(demo: Path, scale: str, file: Path) -> None:
    """The YAML of the demo's run, with the parents that the demo made."""
    import yaml

    from overopt.studies.run import packaged_run

    jobs = {job.name: job for job in packaged_run("demo", demo, scale).jobs}
    file.write_text(yaml.safe_dump(dict(jobs[RUN].config)))


def page(whole: float, lines: Sequence[Mapping[str, Any]], run: float, parts: Mapping[str, float], scale: str) -> str:
    """The tables as Markdown."""
    steps = next(line["steps"] for line in lines if line["run"] == RUN)
    return "\n".join(
        [
            "# Where the CPU-seconds go",
            "",
            f"Processor time, user and system, all processes, one thread each; scale `{scale}`, seed 0. Made by",
            "`python bench/stages.py` (six CPU-minutes).",
            f"Machine: {machine()}.",
            "",
            "| what | CPU s | target |",
            "|---|---|---|",
            f"| `overopt train` of the demo's run `{RUN}`: {steps} updates, `kl_prev` at each | {run:.1f} "
            f"| {TARGETS['run']:.0f} |",
            f"| `overopt demo`: {len(lines)} runs, table, figure, report | {whole:.0f} | {TARGETS['demo']:.0f} |",
            "",
            f"## The run `{RUN}`, alone in its process",
            "",
            *run_table(run, parts, steps),
            "",
            "`texts, gold`: decoding tokens to text, and the gold reward. `shaping, metrics`: regularizers, advantage,",
            "what is measured of a batch. `checkpoints`: weights, what the run would go on from, and their hashes.",
            "`evaluation` by itself: greedy completions, their gold, the samples' file.",
            f"`{REST}`: loading the parents, encoding the prompts, the last records.",
            "",
            "## The demo, by run",
            "",
            *demo_table(whole, lines),
        ]
    ) + "\n"  # fmt: skip


def run_table(total: float, parts: Mapping[str, float], steps: int) -> list[str]:
    outside = total - sum(parts.values())
    rows = {part: parts[part] for part in PARTS if part in parts} | {"interpreter's end": outside}
    lines = ["| part | CPU s | ms a step | share |", "|---|---|---|---|"]
    for name, seconds in rows.items():
        lines.append(f"| {name} | {seconds:.2f} | {1e3 * seconds / steps:.1f} | {seconds / total:.0%} |")
    return [*lines, f"| sum | {total:.2f} | {1e3 * total / steps:.1f} | 100% |"]


def demo_table(whole: float, lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """A row a run, columns by part; what no run took is the command's own."""
    taken = [(line, grouped(line["seconds"])) for line in lines]
    shown = [part for part in PARTS if any(part in seconds for _, seconds in taken)]
    table = [f"| run | stage | updates | CPU s | {' | '.join(shown)} |", "|---" * (4 + len(shown)) + "|"]
    for line, seconds in taken:
        cells = [f"{seconds[part]:.1f}" if part in seconds else "-" for part in shown]
        total = sum(seconds.values())
        table.append(f"| `{line['run']}` | {line['stage']} | {line['steps']} | {total:.1f} | {' | '.join(cells)} |")
    sums = {part: sum(seconds[part] for _, seconds in taken) for part in shown}
    own = whole - sum(sums.values())
    table.append(f"| scheduler, table, figure, report | - | - | {own:.1f} |" + " - |" * len(shown))
    return [*table, f"| sum | - | - | {whole:.1f} | " + " | ".join(f"{sums[part]:.1f}" for part in shown) + " |"]


def grouped(seconds: Mapping[str, float]) -> Counter[str]:
    """Parts of a part as one."""
    sums: Counter[str] = Counter()
    for part, value in seconds.items():
        sums[part.partition(":")[0]] += value
    return sums


if __name__ == "__main__":
    sys.exit(main())

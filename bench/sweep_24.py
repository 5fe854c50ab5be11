"""A sweep of 24 short runs against the same runs alone, and killed twice on its way.

    python bench/sweep_24.py --out DIR [--updates 20] [--passes 1] > bench/sweep_24.md

Three passes over the same 24 runs: two seeds, each with an SFT policy and a reward model, which serve ten online runs.

1. alone: each run is a process of its own, `overopt train`, timed from its start to its exit, two at a time, so that
   each has a busy neighbor;
2. one `overopt sweep`, two workers;
3. the same, its whole process group killed by SIGKILL a few seconds after the 8th and after the 16th run has ended, and
   continued by the same command.

Every pass needs both cores to itself; DIR keeps its result, so that one that was disturbed can be removed and repeated.

Exits with 1 if pass 2 took more than 1.1 times half the sum of pass 1, if pass 3 did so beyond the steps that it made
again, if it touched a run that had ended, or if any two passes differ in a byte of their records or weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from overopt.records import load_run
from overopt.scheduler import Job
from overopt.studies.run import sweep_run

CORES = 2
LIMIT = 1.1
KILLED_AFTER = (8, 16)
"""Runs that have ended before a kill."""
SECONDS_ON = 3.0
"""From that to the kill: the runs at hand are in the middle of their steps."""
OVEROPT = [sys.executable, "-c", "import sys; from overopt.cli import main; sys.exit(main())"]


def sweep(updates: int) -> dict[str, Any]:
    """2 x (SFT, reward model, 5 learning rates x 2 coefficients of KL); sizes of the miniature's demo, fewer steps."""
    adam = {"eps": 1e-5, "weight_decay": 0.0}
    model = {"name": "scratch", "architecture": "gpt_neox", "hidden_size": 64, "layers": 2, "heads": 2}
    return {
        "seeds": [0, 1],
        "grid": {"online": {"lr": [2e-5, 5e-5, 1e-4, 2e-4, 5e-4], "regularizers.0.coef": [0.05, 0.2]}},
        "defaults": {
            "*": {"task": "miniature", "max_completion_tokens": 28, "compute": {"device": "cpu", "threads": 1}},
            "sft": {"model": model, "lr": 4e-3, "steps": 10 * updates, "batch_size": 32, "loss_on_prompt": False},
            "reward_model": {
                "policy": "runs/sft",
                "pairs": {"name": "sampled", "count": 100 * updates},
                "lr": 1e-3,
                "batch_size": 32,
                "normalization": "standardize",
                "checkpoint_every": updates,
            },
            "online": {
                "policy": "runs/sft",
                "reward_model": "runs/reward_model",
                "total_episodes": 64 * updates,
                "episodes_per_update": 64,
                "samples_per_prompt": 4,
                "epochs": 2,
                "minibatches": 1,
                "temperature": 0.7,
                "schedule": {"name": "constant", "warmup": 5},
                "optimizer": adam,
                "checkpoint_every": max(1, updates // 4),
            },
        },
        "runs": {
            "sft": {"stage": "sft", "checkpoint_every": 2 * updates},
            "reward_model": {"stage": "reward_model"},
            "kl": {"stage": "online", "regularizers": [{"name": "kl", "coef": 0.2}]},
        },
    }


# --- Alone


def alone(file: Path, out: Path) -> dict[str, float]:
    """Seconds of each run as a process of its own. Parents come first, so that nothing waits for long."""
    jobs = sweep_run(file, out).jobs
    seconds: dict[str, float] = {}
    out.mkdir()
    while waiting := [job for job in jobs if job.name not in seconds]:
        ready = [job for job in waiting if all(parent in seconds for parent in job.parents)]
        with ThreadPoolExecutor(CORES) as lanes:
            seconds |= dict(zip([job.name for job in ready], lanes.map(train, ready), strict=True))
    return seconds


def train(job: Job) -> float:
    config = job.out.parent.parent / f"{job.name}.yaml"
    config.write_text(yaml.safe_dump(dict(job.config)), encoding="utf-8")
    start = time.perf_counter()
    subprocess.run([*OVEROPT, "train", str(config), "--out", str(job.out)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


# --- As a sweep


@dataclass
class Swept:
    seconds: float = 0.0
    redone: list[str] = field(default_factory=list)
    """A phrase for each run that made steps again."""
    steps_again: int = 0
    seconds_again: float = 0.0
    touched: list[str] = field(default_factory=list)
    """Runs that had ended before a kill and were not left alone."""


def swept(file: Path, out: Path, kills: Sequence[int] = ()) -> Swept:
    """The command, killed when so many runs have ended, and given again until it is done."""
    found = Swept()
    for ended in [*kills, None]:
        before = {run.name: fingerprint(run) for run in runs_in(out) if status(run) == "finished"}
        halfway = {run.name: steps(run) for run in runs_in(out) if status(run) not in ("finished", None)}
        start = time.perf_counter()
        process = subprocess.Popen(
            [*OVEROPT, "sweep", str(file), "--out", str(out), "--workers", str(CORES)],
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        if ended is not None:
            while sum(status(run) == "finished" for run in runs_in(out)) < ended:
                time.sleep(0.02)
            time.sleep(SECONDS_ON)
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        found.seconds += time.perf_counter() - start
        if code != (0 if ended is None else -signal.SIGKILL):
            raise SystemExit(f"overopt sweep: exit status {code}")
        found.touched += [name for name, was in before.items() if fingerprint(out / "runs" / name) != was]
        count_again(found, out, halfway)
    return found


def count_again(found: Swept, out: Path, halfway: dict[str, list[float]]) -> None:
    """What a run had made when it was killed, beyond the step that it went on from."""
    for name, elapsed in halfway.items():
        resumes = load_run(out / "runs" / name).info["resumes"]
        kept = resumes[-1]["step"] if resumes else 0
        again = len(elapsed) - kept
        found.redone.append(f"`{name}` {again} of {len(elapsed)}")
        found.steps_again += again
        found.seconds_again += elapsed[-1] - (elapsed[kept - 1] if kept else 0.0) if again else 0.0


def runs_in(out: Path) -> list[Path]:
    return [file.parent for file in sorted(out.glob("runs/*/run.json"))]


def status(run: Path) -> str | None:
    try:
        found: str = json.loads((run / "run.json").read_bytes())["status"]
    except OSError:  # between two names
        return None
    return found


def steps(run: Path) -> list[float]:
    """When each step was made that is recorded in whole, seconds since the run began."""
    file = run / "timings.jsonl"
    lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line)["elapsed"] for line in lines if line.endswith(b"\n")]


def fingerprint(run: Path) -> list[tuple[str, int, int]]:
    """All files of a run, and when they were last written; not the states that a killed one may leave to be removed."""
    files = [path for path in sorted(run.rglob("*")) if path.is_file() and not {".lock", "trainer"} & {*path.parts}]
    return [(str(file), file.stat().st_mtime_ns, file.stat().st_ino) for file in files]


def content(out: Path) -> dict[str, str]:
    """Hashes of the records and weights of all runs."""
    kinds = ("*/metrics.jsonl", "*/evaluations.jsonl", "*/samples/*", "*/checkpoints/*/*")
    files = [file for kind in kinds for file in sorted((out / "runs").glob(kind))]
    return {file.relative_to(out).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


# --- The page


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a folder for the runs")
    parser.add_argument("--updates", type=int, default=20, help="of each online run; the parents' steps go with it")
    parser.add_argument("--passes", type=int, choices=(1, 2, 3), default=3, help="make only the first so many")
    options = parser.parse_args()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    file = out / "sweep.yaml"
    file.write_text(yaml.safe_dump(sweep(options.updates), sort_keys=False), encoding="utf-8")

    passes: list[Callable[[], dict[str, Any]]] = [
        lambda: alone(file, out / "alone"),
        lambda: asdict(swept(file, out / "sweep")),
        lambda: asdict(swept(file, out / "killed", KILLED_AFTER)),
    ]
    names = ("alone", "sweep", "killed")[: options.passes]
    results = [remembered(out / name, make) for name, make in zip(names, passes, strict=False)]
    if options.passes < len(passes):
        return 0
    seconds, whole, killed = results[0], Swept(**results[1]), Swept(**results[2])
    half = sum(seconds.values()) / CORES
    ratios = whole.seconds / half, (killed.seconds - killed.seconds_again / CORES) / half
    contents = [content(out / name) for name in names]
    same = contents[0] == contents[1] == contents[2]
    print(page(options.updates, seconds, whole, killed, ratios, len(contents[0]) if same else 0))
    return int(max(ratios) > LIMIT or bool(killed.touched) or not same)


def remembered(folder: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a pass measured, now or before; one that was interrupted is made anew."""
    file = folder.with_suffix(".json")
    if not file.exists():
        shutil.rmtree(folder, ignore_errors=True)
        file.write_text(json.dumps(make(), indent=2))
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def page(
    updates: int, seconds: dict[str, float], whole: Swept, killed: Swept, ratios: tuple[float, float], same: int
) -> str:
    total = sum(seconds.values())
    half, less = total / CORES, killed.seconds - killed.seconds_again / CORES
    spread = f"{min(seconds.values()):.1f} to {max(seconds.values()):.1f} s each"
    rows = [
        (f"{len(seconds)} runs alone, two at a time: {spread}, {total:.1f} s in all; half of it", f"{half:.1f} s", ""),
        ("one sweep", f"{whole.seconds:.1f} s", f"{ratios[0]:.2f}"),
        ("killed twice and continued", f"{killed.seconds:.1f} s", f"{killed.seconds / half:.2f}"),
        (f"... less half the time of the {killed.steps_again} steps made again", f"{less:.1f} s", f"{ratios[1]:.2f}"),
    ]
    table = "\n".join(f"| {what} | {clock} | {ratio} |" for what, clock, ratio in rows)
    ended = "left alone, every one" if not killed.touched else f"touched: {', '.join(killed.touched)}"
    equal = f"{same} files, equal byte for byte" if same else "DIFFERENT"
    return f"""# A sweep of {len(seconds)} short runs on two cores

`python bench/sweep_24.py --out DIR --updates {updates}` on {machine()}.
What is measured, and how, is said at the head of the script. The limit is {LIMIT} times half the sum.

| what | wall clock | times half the sum |
|---|---|---|
{table}

- Runs that had ended before a kill: {ended}.
- Records and weights of all three passes: {equal}.
- Steps made again after the kills, of those recorded by then:
  {"; ".join(killed.redone) or "none"};
  {killed.seconds_again:.1f} s of training in all."""


def machine() -> str:
    import torch

    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return f"{os.cpu_count()} cores of an {model} (Python {platform.python_version()}, PyTorch {torch.__version__})"


if __name__ == "__main__":
    sys.exit(main())

"""Writes the records of 60 runs of 2,000 steps with 20 evaluations each, and measures `overopt report` on them.

    python bench/report_60_runs.py [--out DIR] [--runs 60] [--steps 2000] [--evaluations 20]

Exits with 1 if a limit is exceeded. The runs are invented: 45 online and 15 offline ones, three seeds a setting, each
with 256 posts of the miniature at every evaluation.

Measured on two cores of an AMD EPYC (a virtual machine), Python 3.11, November 2026, records of 60 runs on the disk:

| what        | measured | limit    | share |
|-------------|----------|----------|-------|
| time        | 17.6 s   | 60 s     | 29 %  |
| peak memory | 667 MB   | 1,000 MB | 67 %  |
| page        | 5.6 MB   | 12 MB    | 47 %  |

The page in headless Chromium without a GPU, all 48 panels drawn, scrolled by 60 pixels a frame: median 17 ms a frame,
95 % within 34 ms, none above 67 ms. With all panels as SVG some frames took 2 s, hence images for crowded ones.
"""

from __future__ import annotations

import argparse
import math
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from overopt.records import RunWriter
from overopt.tasks.miniature import write_posts
from overopt.types import PromptRecord

LIMITS = {"seconds": 60.0, "peak memory, MB": 1000.0, "page, MB": 12.0}
SEEDS, PROMPTS = 3, 256


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="default: a temporary folder")
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--evaluations", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = options.out or Path(temporary)
        if not (out / "runs").exists():
            write_runs(out / "runs", options.runs, options.steps, options.evaluations)
        measured = measure(out / "runs", out / "report.html")
    for name, value in measured.items():
        print(f"{name:<16} {value:8.1f}   limit {LIMITS[name]:g} ({value / LIMITS[name]:.0%})")
    return int(any(value > LIMITS[name] for name, value in measured.items()))


def measure(runs: Path, page: Path) -> dict[str, float]:
    """The verb as a user runs it, in its own process, with all figures as SVG."""
    program = "import sys; from overopt.cli import main; sys.exit(main())"
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program, "report", str(runs), "-o", str(page)], check=True)
    seconds = time.perf_counter() - start
    kilobytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return dict(zip(LIMITS, (seconds, kilobytes / 1e3, page.stat().st_size / 1e6), strict=True))


def write_runs(folder: Path, runs: int, steps: int, evaluations: int) -> None:
    posts = write_posts("bench", PROMPTS)
    for place in range(runs):
        stage = "online" if place < 3 * runs // 4 else "offline"
        setting, seed = divmod(place, SEEDS)
        write_run(folder / f"{stage}-{setting:02}-seed-{seed}", stage, setting, seed, (steps, evaluations), posts)
        print(f"\rwrote {place + 1} of {runs} runs", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def write_run(
    path: Path, stage: str, setting: int, seed: int, size: tuple[int, int], posts: list[PromptRecord]
) -> None:
    steps, evaluations = size
    draw = random.Random(f"{setting} {seed}")
    strength = 0.05 * (setting + 1)
    own = (
        {"regularizers": [{"name": "kl", "coef": strength}]}
        if stage == "online"
        else {"loss": {"name": "dpo", "beta": strength}}
    )
    config = {"stage": stage, "task": {"name": "miniature"}, "lr": 5e-4, "seed": seed, **own}
    info = {"stage": stage, "name": path.name, "seed": seed, "steps": steps, "split": "tuning"}
    with RunWriter.create(path, yaml.safe_dump(config), info) as writer:
        for step in range(1, steps + 1):
            writer.log(step, metrics(stage, step / steps, strength, draw))
            writer.log_timings(step, {"elapsed": 0.5 * step, "tokens": 1500})
        for place in range(evaluations + 1):
            evaluate(writer, place * steps // evaluations, place / evaluations, strength, posts, draw)
        writer.finish("finished")


def metrics(stage: str, done: float, strength: float, draw: random.Random) -> dict[str, float]:
    """As many as a run of the stage records, drifting and noisy."""
    names = {
        "online": "score_mean score_sd bonus_mean rlhf_reward neg_logp_sum neg_logp_tok entropy_tok eos_rate len_mean"
        " kl_ref gold_mean loss grad_norm approxkl ratio_mean ratio_var kl_prev kl_prev_reverse clipfrac",
        "offline": "loss rewards_chosen rewards_rejected rewards_acc rewards_margin logps_chosen_sum logps_chosen_mean"
        " logps_rejected_sum logps_rejected_mean ref_margin logits_chosen logits_rejected grad_norm",
    }[stage].split()
    return {"lr": 5e-4} | {name: done / strength + draw.gauss(0, 0.3) for name in names}


def evaluate(
    writer: RunWriter, step: int, done: float, strength: float, posts: list[PromptRecord], draw: random.Random
) -> None:
    """The stronger the regularizer, the later the fall."""
    rate = 0.4 + done - done**2 / strength
    rows = [sample(post, max(0.02, min(0.98, rate)), done / strength, draw) for post in posts]
    writer.write_samples(step, rows)
    wins = sum(row["outcome"] for row in rows) / len(rows)
    row = {"step": step, "split": "tuning", "judge": "gold", "prompt_set": "bench", "n": len(rows), "win_rate": wins}
    row |= {
        "win_rate_low": max(0.0, wins - 0.06),
        "win_rate_high": min(1.0, wins + 0.06),
        "kl_ref": 10 * done / strength,
    }
    for name, column in (("proxy_mean", "proxy"), ("gold_mean", "gold"), ("len_mean", "length"), ("eos_rate", "ended")):
        row[name] = sum(sample[column] for sample in rows) / len(rows)
    writer.log_evaluation(row | {"win_difference": wins - 0.4, "win_difference_se": 0.03})


def sample(post: PromptRecord, rate: float, pull: float, draw: random.Random) -> dict[str, Any]:
    """A completion that repeats itself the more, the further the policy was pulled."""
    words = (post.reference or "").split()
    words += draw.choices(words, k=min(15, round(3 * pull)))
    proxy = pull + draw.gauss(0, 0.5)
    return {
        "prompt_id": post.prompt_id, "split": "tuning", "judge": "gold", "prompt": post.prompt,
        "reference": post.reference, "completion": " ".join(words), "ended": draw.random() < 0.9, "proxy": proxy,
        "gold": -2 - math.exp(min(3.0, pull)) + draw.gauss(0, 1), "reference_gold": -2.0,
        "outcome": float(draw.random() < rate), "length": len(words) + 1, "logp": -8 + draw.gauss(0, 2),
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())

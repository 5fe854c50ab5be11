"""Two processes against one on the same cores: tokens a second of SFT and RLOO steps at SmolLM2-135M.

    python bench/data_parallel.py [--model out/example/model] [--steps 4] [--table bench/data_parallel.md]

The same run three times in turn: one process with one thread, one with two threads, two with one thread each, all with
the same global batch. A row's speed is that of its steps after the first, from the run's own `timings.jsonl`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measuring import machine

ROOT = Path(__file__).resolve().parents[1]
WAYS = {"1 process, 1 thread": (1, 1), "1 process, 2 threads": (1, 2), "2 processes, 1 thread each": (2, 1)}
TASK = {
    "name": "local",
    "path": str(ROOT / "examples" / "data" / "llmbar_natural.json"),
    "prompt_style": "chat_template",
}
LIMITS = {"max_prompt_tokens": 192, "max_completion_tokens": 64}

ABOUT = """\
# One process and two

The same steps of SmolLM2-135M (fp32, as `make example` fetches it) with the same global batch, on two cores; {steps}
steps after the first. Two processes sum their gradients over a socket (gloo). Made by `python bench/data_parallel.py`.
Machine: {machine}.

| stage | processes | tokens/s | of 1 process, 1 thread | of 1 process, 2 threads | loss of the last step |
|---|---|---|---|---|---|
"""


def stages(model: str) -> dict[str, dict[str, Any]]:
    """Return a configuration for each stage that is measured."""
    shared = {"task": TASK, "seed": 0, "lr": 1e-6, "keep": "last", **LIMITS}
    return {
        "sft": {"stage": "sft", "model": {"name": "pretrained", "path": model}, "batch_size": 16, **shared},
        "online": {
            "stage": "online", "policy": model, "reward_model": None, "rewards": [], "episodes_per_update": 16,
            "samples_per_prompt": 2, "epochs": 1, "regularizers": [{"name": "kl", "coef": 0.05}], **shared,
        },
    }  # fmt: skip


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(ROOT / "out" / "example" / "model"))
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--table", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for stage, config in stages(str(Path(options.model).resolve())).items():
            found = {way: measure(stage, config, Path(folder), way, options.steps) for way in WAYS}
            one, two = (found[way][0] for way in list(WAYS)[:2])
            for way, (speed, loss) in found.items():
                lines.append(
                    f"| {stage} | {way} | {speed:.0f} | {speed / one:.2f} | {speed / two:.2f} | {loss:.6f} |\n"
                )
                print(lines[-1], end="", flush=True)
    about = ABOUT.format(steps=options.steps, machine=machine())
    options.table.write_text(about + "".join(lines), encoding="utf-8")


def measure(stage: str, config: dict[str, Any], folder: Path, way: str, steps: int) -> tuple[float, float]:
    """Return tokens a second of a run's steps after the first, and the loss of the last one."""
    processes, threads = WAYS[way]
    out, file = folder / f"{stage}-{processes}-{threads}", folder / "config.yaml"
    total = steps + 1
    counts = {"steps": total} if stage == "sft" else {"total_episodes": total * config["episodes_per_update"]}
    compute = {"device": "cpu", "threads": threads}
    # evaluations are not measured: one prompt, at the end
    task = config["task"] | {"evaluation_prompts": 1}
    file.write_text(json.dumps(config | counts | {"compute": compute, "task": task, "checkpoint_every": total}))
    command = ["-m", "overopt", "train", str(file), "--out", str(out)]
    if processes > 1:
        command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), *command]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    subprocess.run([sys.executable, *command], check=True, env=environment, stdout=subprocess.DEVNULL)
    timings = [json.loads(line) for line in (out / "timings.jsonl").read_text().splitlines()]
    metrics = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    tokens = sum(row["tokens"] for row in timings[1:])
    return tokens / (timings[-1]["elapsed"] - timings[0]["elapsed"]), metrics[-1]["loss"]


if __name__ == "__main__":
    main()

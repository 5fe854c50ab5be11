"""Time from the start of the process to the end of the first step, here and in TRL, on the same files.

    python bench/startup.py --model FOLDER [--rows 2000] [--repeats N]

Supervised fine-tuning of SmolLM2-135M (the folder that `make example` makes) for one step of 4 demonstrations: imports,
the model's weights, the data's tokens, the first update. The first step is told by TRL's callback and by our record of
it; evaluations come after. Needs TRL (`make test-trl`).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from loading import rows
from measuring import machine

SIDES = ("overopt", "trl")
BATCH, LIMIT = 4, 64


class FirstStepError(Exception):
    """Ends a run after its first step."""


def overopt(model: str, file: str, out: str) -> None:
    """A stage of one step, whose progress is told after each."""
    from overopt.training.train import train

    def told(progress: Any) -> None:
        if progress.step == 1:
            raise FirstStepError

    task = {"name": "local", "path": file, "evaluation_path": str(Path(file).with_name("evaluation.jsonl"))}
    settings = {"stage": "sft", "task": task, "model": {"name": "pretrained", "path": model}, "steps": 2}
    sizes = {"batch_size": BATCH, "max_prompt_tokens": 512, "max_completion_tokens": LIMIT, "checkpoint_every": 2}
    train(settings | sizes | {"compute": {"device": "cpu"}}, out, progress=told)


def trl(model: str, file: str, out: str) -> None:
    """SFTTrainer on the same records, as prompts and completions."""
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Told(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            raise FirstStepError

    data = load_dataset("json", data_files=file, split="train", cache_dir=out)
    data = data.rename_column("chosen", "completion").remove_columns("rejected")
    config = SFTConfig(
        out, per_device_train_batch_size=BATCH, max_steps=2, max_length=512 + LIMIT, completion_only_loss=False,
        use_cpu=True, report_to="none", bf16=False, gradient_checkpointing=False, disable_tqdm=True,
    )  # fmt: skip
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(model)
    SFTTrainer(loaded, config, train_dataset=data, processing_class=tokenizer, callbacks=[Told()]).train()


def measured(side: str, model: Path, file: Path) -> dict[str, float]:
    """Seconds of the clock and of the processor, and the peak of memory, of one process."""
    quiet = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1"}
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, __file__, "--side", side, "--model", str(model), "--file", str(file), "--out", out]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **quiet})
        wall = time.perf_counter() - began
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {"seconds": wall} | found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--file")
    parser.add_argument("--out")
    options = parser.parse_args()
    if options.side:
        try:
            (overopt if options.side == "overopt" else trl)(str(options.model), options.file, options.out)
        except FirstStepError:
            used = resource.getrusage(resource.RUSAGE_SELF)
            print(json.dumps({"cpu": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1024}), flush=True)
            os._exit(0)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "train.jsonl")
        file.write_text("".join(json.dumps(row) + "\n" for row in rows(options.rows)), encoding="utf-8")
        evaluation = {"prompt": "SUBREDDIT: r/x", "chosen": "a", "rejected": "b"}
        file.with_name("evaluation.jsonl").write_text(json.dumps(evaluation))
        found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for _ in range(options.repeats):
            for side in SIDES:
                found[side].append(measured(side, options.model, file))
                print(side, found[side][-1], file=sys.stderr, flush=True)
    print(f"{options.rows:,} demonstrations; one thread; {machine()}; medians of {options.repeats}.\n")
    print("| to the end of the first step | overopt | TRL | ratio |", "|---|---|---|---|", sep="\n")
    for name, words in {"cpu": "CPU seconds", "seconds": "seconds", "peak_mb": "peak memory, MB"}.items():
        ours, theirs = (median(run[name] for run in found[side]) for side in SIDES)
        print(f"| {words} | {ours:,.1f} | {theirs:,.1f} | {ours / theirs:.2f} |")


if __name__ == "__main__":
    main()

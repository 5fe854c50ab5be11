"""Time and memory to load and tokenize a file of comparisons, here and by `datasets`, with one tokenizer.

    python bench/loading.py [--rows 92858] [--repeats N] [--tokenizer FOLDER]

The script makes the file: as many rows as TL;DR's comparisons have, with prompts of 340 tokens on average and
completions of 35. Each side reads it in processes of their own, in turn. `datasets` loads it as JSON and maps, in
batches, the tokenizer over prompt, chosen and rejected, each alone and once: the least that a trainer needs, and less
than TRL's trainers do. Our side gives what training starts from: pairs read, checked and told apart from those held
out, as trees of tokens within the limits. Needs `datasets` (`pip install 'overopt[hub]'`).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from measuring import machine

ROOT = Path(__file__).parents[1]
WORDS, PARAGRAPH = 236, 60
"""Words of a prompt on average, and of one of its paragraphs."""
SIDES = ("overopt", "datasets")
EVALUATION = "evaluation.jsonl"


def rows(count: int, seed: int = 0) -> Iterator[dict[str, str]]:
    """Comparisons in TL;DR's layout, of words that the documentation has, as frequent as there."""
    rng = random.Random(seed)
    pages = sorted((ROOT / "docs").glob("*.md"))
    words = re.findall(r"[A-Za-z']+[.,]?", "\n".join(page.read_text(encoding="utf-8") for page in pages))

    def text(mean: int) -> str:
        chosen = rng.choices(words, k=max(5, int(rng.gammavariate(4, mean / 4))))
        return "\n".join(" ".join(chosen[i : i + PARAGRAPH]) for i in range(0, len(chosen), PARAGRAPH))

    for number in range(count):
        prompt = f"SUBREDDIT: r/{rng.choice(words)}\n\nTITLE: {text(9)} {number}\n\nPOST: {text(WORDS)}\n\nTL;DR:"
        yield {"prompt": prompt, "chosen": f" {text(24)}", "rejected": f" {text(24)}"}


def overopt(file: Path, tokenizer: Path) -> dict[str, Any]:
    """Read and encode the pairs as a reward model's training does."""
    from overopt.models.load import load_tokenizer
    from overopt.models.text import Codec
    from overopt.tasks.local import Local
    from overopt.training.data import Limits, encode_preferences
    from overopt.types import Dropped

    codec = Codec(load_tokenizer(tokenizer), "raw")
    clock = Clock()
    task = Local(path=str(file), evaluation_path=str(file.with_name(EVALUATION)), long_posts="left_out")
    trees = encode_preferences(codec, task.preferences(0, Dropped()), Limits(100_000, 100_000), Dropped())
    return clock.read() | {"rows": len(trees), "tokens": sum(tree.size for tree in trees)}


def datasets(file: Path, tokenizer: Path) -> dict[str, Any]:
    """Load and map."""
    from datasets import load_dataset
    from transformers import AutoTokenizer

    encode = AutoTokenizer.from_pretrained(tokenizer)

    def tokenized(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        return {f"{name}_ids": encode(texts, add_special_tokens=False)["input_ids"] for name, texts in batch.items()}

    clock = Clock()
    with tempfile.TemporaryDirectory(dir=file.parent) as cache:
        data = load_dataset("json", data_files=str(file), split="train", cache_dir=cache)
        data = data.map(tokenized, batched=True)
        found = clock.read()
        tokens = sum(len(ids) for name in data.column_names if name.endswith("_ids") for ids in data[name])
    return found | {"rows": len(data), "tokens": tokens}


class Clock:
    """What is taken from now on."""

    def __init__(self) -> None:
        self.wall, self.cpu, self.before = time.perf_counter(), time.process_time(), peak()

    def read(self) -> dict[str, float]:
        """Seconds of the clock and of the processor, and the peak of memory with what was held before."""
        taken = {"seconds": time.perf_counter() - self.wall, "cpu": time.process_time() - self.cpu}
        return taken | {"before_mb": self.before, "peak_mb": peak()}


def peak() -> float:
    """Megabytes that this process held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(side: str, file: Path, tokenizer: Path) -> dict[str, Any]:
    """What one side takes, in a process of its own."""
    quiet = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}
    command = [sys.executable, __file__, "--side", side, "--file", str(file), "--tokenizer", str(tokenizer)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **quiet})
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """The medians of each side, and ours over theirs, as Markdown."""
    first = {side: runs[0] for side, runs in found.items()}
    names = {
        "cpu": "CPU seconds",
        "seconds": "seconds",
        "peak_mb": "peak memory, MB",
        "before_mb": "of it before loading",
    }
    middle = {side: {name: median(run[name] for run in runs) for name in names} for side, runs in found.items()}
    ours, theirs = (middle[side] for side in SIDES)
    count, tokens = first["overopt"]["rows"], first["overopt"]["tokens"]
    lines = [
        f"{count:,} comparisons of {tokens / count:.0f} tokens; {machine()}; medians of {len(found['overopt'])}.",
        "",
        "| | overopt | datasets | ratio |",
        "|---|---|---|---|",
        *(f"| {names[n]} | {ours[n]:,.1f} | {theirs[n]:,.1f} | {ours[n] / theirs[n]:.2f} |" for n in names),
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=92_858)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--file", type=Path)
    options = parser.parse_args()
    if options.side:
        print(json.dumps((overopt if options.side == "overopt" else datasets)(options.file, options.tokenizer)))
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "train.jsonl")
        with file.open("w", encoding="utf-8") as out:
            out.writelines(json.dumps(row) + "\n" for row in rows(options.rows))
        file.with_name(EVALUATION).write_text(json.dumps({"prompt": "-", "chosen": "a", "rejected": "b"}))
        found: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
        for _ in range(options.repeats):
            for side in SIDES:
                found[side].append(measured(side, file, options.tokenizer))
                print(side, found[side][-1], file=sys.stderr, flush=True)
    print(table(found))


if __name__ == "__main__":
    main()

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
from typing import Any

ROOT = Path(__file__).parents[1]
WORDS, PARAGRAPH = 236, 60
"""Words of a prompt on average, and of one of its paragraphs."""
SIDES = ("overopt", "datasets")


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
        yield {"prompt": prompt, "chosen": f" {text(27)}", "rejected": f" {text(27)}"}


def overopt(file: Path, tokenizer: Path) -> dict[str, Any]:
    """Read and encode the pairs as a reward model's training does."""
    from overopt.models.load import load_tokenizer
    from overopt.models.text import Codec
    from overopt.tasks.local import Local
    from overopt.training.data import Limits, encode_preferences
    from overopt.types import Dropped

    codec = Codec(load_tokenizer(tokenizer), "raw")
    began, cpu = time.perf_counter(), time.process_time()
    task = Local(path=str(file), evaluation_path=str(file.with_name("evaluation.jsonl")))
    trees = encode_preferences(codec, task.preferences(0, Dropped()), Limits(100_000, 100_000), Dropped())
    taken = time.perf_counter() - began, time.process_time() - cpu
    tokens = sum(tree.size for tree in trees)
    return {"rows": len(trees), "tokens": tokens, "seconds": taken[0], "cpu": taken[1]}


def datasets(file: Path, tokenizer: Path) -> dict[str, Any]:
    """Load and map."""
    from datasets import load_dataset
    from transformers import AutoTokenizer

    encode = AutoTokenizer.from_pretrained(tokenizer)

    def tokenized(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        return {f"{name}_ids": encode(texts, add_special_tokens=False)["input_ids"] for name, texts in batch.items()}

    began, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory(dir=file.parent) as cache:
        data = load_dataset("json", data_files=str(file), split="train", cache_dir=cache)
        data = data.map(tokenized, batched=True)
        taken = time.perf_counter() - began, time.process_time() - cpu
        tokens = sum(len(ids) for name in data.column_names if name.endswith("_ids") for ids in data[name])
    return {"rows": len(data), "tokens": tokens, "seconds": taken[0], "cpu": taken[1]}


def peak() -> float:
    """Megabytes that this process held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(side: str, file: Path, tokenizer: Path) -> dict[str, Any]:
    """What one side takes, in a process of its own."""
    quiet = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}
    command = [sys.executable, __file__, "--side", side, "--file", str(file), "--tokenizer", str(tokenizer)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **quiet})
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=92_858)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--file", type=Path)
    options = parser.parse_args()
    if options.side:
        before = peak()
        found = (overopt if options.side == "overopt" else datasets)(options.file, options.tokenizer)
        print(json.dumps(found | {"before": before, "peak": peak()}))
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "train.jsonl")
        with file.open("w", encoding="utf-8") as out:
            out.writelines(json.dumps(row) + "\n" for row in rows(options.rows))
        file.with_name("evaluation.jsonl").write_text(json.dumps({"prompt": "-", "chosen": "a", "rejected": "b"}))
        found = {side: [] for side in SIDES}
        for _ in range(options.repeats):
            for side in SIDES:
                found[side].append(measured(side, file, options.tokenizer))
                print(side, found[side][-1], flush=True)


if __name__ == "__main__":
    main()

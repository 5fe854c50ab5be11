"""Peak memory of a DPO step with LoRA beside all weights, and beside TRL's LoRA, on the same pairs; each in a process.

python bench/lora_memory.py [--model FOLDER] [--pairs N] > bench/lora_memory.md
Needs the packages of `make test-trl`, PEFT, and `make example`'s model (SmolLM2-135M).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from measuring import machine

from overopt.engine.memory import TokenBudget
from overopt.engine.optimizer import AdamW, Constant, Optimizer
from overopt.engine.packing import Tree
from overopt.models.load import load_policy
from overopt.models.trainable import LoRA
from overopt.objectives.pair_losses import DPO
from overopt.training.preference_step import PreferenceStep
from overopt.training.reference_logps import Item

MODEL = Path(__file__).resolve().parents[1] / "out" / "example" / "model"
PROMPT, RESPONSE, STEPS, RANK, ALPHA = 200, 60, 2, 16, 32
SIDES = {
    "full": "overopt, all weights",
    "lora": "overopt, LoRA",
    "lora_checkpointed": "overopt, LoRA, layers computed again",
    "trl_full": "TRL, all weights",
    "trl_lora": "TRL, LoRA",
}
BESIDE = {
    "lora": ("full", "trl_lora"),
    "lora_checkpointed": ("full",),
    "full": ("full", "trl_full"),
}
"""Whose peaks a side's is divided by."""
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536"}
"""Freed tensors go back to the system at once: else the holes that glibc keeps, up to a third, would count as held."""


def words(tokenizer: Any, count: int, size: int, rng: random.Random) -> list[str]:
    """Texts of `size` tokens: words of the vocabulary."""
    known = sorted(w for w in tokenizer.get_vocab() if re.fullmatch(r"Ġ[a-z]{3,9}", w))
    return ["".join(rng.choice(known).replace("Ġ", " ") for _ in range(size)) for _ in range(count)]


def texts(tokenizer: Any, pairs: int) -> list[dict[str, str]]:
    """The pairs of all steps."""
    rng, count = random.Random(0), STEPS * pairs
    columns = [words(tokenizer, count, size, rng) for size in (PROMPT, RESPONSE, RESPONSE)]
    return [{"prompt": p, "chosen": c, "rejected": r} for p, c, r in zip(*columns, strict=True)]


def ours(folder: Path, pairs: int, lora: bool, checkpointed: bool) -> None:
    policy = load_policy(folder, torch.device("cpu"))
    if checkpointed:
        policy.checkpoint_layers()
    if lora:
        LoRA(rank=RANK, alpha=ALPHA).prepare(policy, 0)
    optimizer = Optimizer(policy.parameters(), AdamW(), 1e-5, Constant(), STEPS)
    step = PreferenceStep(policy, policy.frozen_copy(), optimizer, DPO(), 1.0, None)

    def ids(text: str) -> list[int]:
        return policy.tokenizer.encode(text, add_special_tokens=False)

    end = [policy.tokenizer.eos_token_id]
    trees = [Tree(ids(t["prompt"]), [ids(t["chosen"]) + end, ids(t["rejected"]) + end])
             for t in texts(policy.tokenizer, pairs)]  # fmt: skip
    for number in range(STEPS):
        batch = [Item([tree]) for tree in trees[number * pairs : (number + 1) * pairs]]
        step(batch, {}, number + 1, TokenBudget(1 << 14))


def theirs(folder: Path, pairs: int, lora: bool, checkpointed: bool) -> None:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    with tempfile.TemporaryDirectory() as out:
        settings = DPOConfig(
            output_dir=out, use_cpu=True, bf16=False, gradient_checkpointing=checkpointed, report_to=[],
            save_strategy="no", logging_steps=1000, disable_tqdm=True, max_steps=STEPS, learning_rate=1e-5,
            lr_scheduler_type="constant", per_device_train_batch_size=pairs, dataloader_num_workers=0,
            dataloader_pin_memory=False, optim="adamw_torch_fused", max_length=2048,
        )  # fmt: skip
        adapter = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
        DPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), args=settings,
            train_dataset=Dataset.from_list(texts(tokenizer, pairs)), processing_class=tokenizer,
            peft_config=adapter if lora else None,
        ).train()  # fmt: skip


def measure(side: str, folder: Path, pairs: int) -> float:
    """The most MB that this process holds in the steps above what it holds with its libraries imported alone."""
    torch.set_num_threads(1)
    lora, checkpointed = "lora" in side, "checkpointed" in side
    if side.startswith("trl"):
        import peft
        import trl  # noqa: F401

        assert peft
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    base = status("VmRSS")
    (theirs if side.startswith("trl") else ours)(folder, pairs, lora, checkpointed)
    return status("VmHWM") - base


def status(name: str) -> float:
    """A line of this process's status, in MB."""
    found = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


def table(peaks: dict[str, float], pairs: int, where: str) -> str:
    """The peaks and their quotients as Markdown."""
    lines = [
        "# Memory of a step with LoRA",
        "",
        f"DPO on SmolLM2-135M in float32, {pairs} pairs at once, prompts of {PROMPT} tokens and completions of "
        f"{RESPONSE}, LoRA of rank {RANK} on all linear maps but the head. The peak is what a process holds during "
        f"{STEPS} steps above its imports: models, gradients, optimizer and activations; freed memory is given back at "
        "once. Made by "
        f"`python bench/lora_memory.py`; {where}.",
        "",
        "| side | peak, MB | of all weights (overopt) | of TRL's, the same weights trained |",
        "|---|---|---|---|",
    ]
    for side, peak in peaks.items():
        over = [f"{peak / peaks[other]:.2f}" if other in peaks else "" for other in BESIDE.get(side, ())]
        lines.append(f"| {SIDES[side]} | {peak:,.0f} | {' | '.join([*over, '', ''][:2])} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options.side, options.model, options.pairs)))
        return 0
    command = [sys.executable, __file__, "--model", str(options.model), "--pairs", str(options.pairs), "--side"]
    peaks = {}
    for side in SIDES:
        done = subprocess.run([*command, side], check=True, capture_output=True, text=True, env=os.environ | MALLOC)
        peaks[side] = json.loads(done.stdout.splitlines()[-1])
        print(side, round(peaks[side]), file=sys.stderr)
    print(table(peaks, options.pairs, machine()), end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

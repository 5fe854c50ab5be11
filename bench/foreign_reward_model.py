"""What a reward model with a tokenizer of its own costs an online step: its texts are decoded and encoded again.

    python bench/foreign_reward_model.py [--table bench/foreign_reward_model.md] [--steps 12]

One process makes steps of `train_online` (RLOO, KL in the reward) from the same policy and the same prompts, in turn
with a reward model that shares the policy's vocabulary and with others of equal size: one with the same tokens in
another order, whose texts are as long, and one whose tokenizer makes other tokens. The ratio is of the medians of
processor seconds; the difference of single steps is mostly noise, so the part that is more work is timed too.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from measuring import machine
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedTokenizerFast
from vs_trl import NoTask

from overopt.engine.memory import TokenBudget
from overopt.engine.optimizer import AdamW, Constant, Optimizer
from overopt.models.body import silence_transformers
from overopt.models.load import load_policy, load_reward_model
from overopt.models.scorer import Scorer
from overopt.models.text import Codec
from overopt.objectives.missing_eos import KeepScore
from overopt.objectives.regularizers import KL
from overopt.training.data import Prompt
from overopt.training.probes import Probes
from overopt.training.stages import online
from overopt.types import PromptRecord

PROMPTS, K, PROMPT_WORDS, COMPLETION = 16, 4, 48, 32
LIMIT = 1.1


def tokenizer(size: int, ends: str, seed: int) -> Any:
    """A byte-level BPE trained on made-up words; another seed, other words."""
    draw = random.Random(seed)
    words = ["".join(draw.choice("abcdefghijklmnoprstuw") for _ in range(draw.randint(2, 7))) for _ in range(4000)]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<pad>", ends], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator([" ".join(words)], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=ends, pad_token="<pad>")


def permuted(of: Any) -> Any:
    """The same tokens in another order: what is cut is cut alike, and no id means the same."""
    text = of.backend_tokenizer.to_str()
    vocabulary = of.get_vocab()
    other = Tokenizer.from_str(text)
    last = len(vocabulary) - 1
    ids = {token: i if i < 2 else last + 2 - i for token, i in vocabulary.items()}
    merges = [tuple(pair) for pair in json.loads(text)["model"]["merges"]]
    other.model = models.BPE(vocab=ids, merges=merges)
    return PreTrainedTokenizerFast(tokenizer_object=other, eos_token=of.eos_token, pad_token=of.pad_token)


def save(folder: Path, kind: Any, tokens: Any, hidden: int, **more: Any) -> None:
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "gpt_neox", vocab_size=len(tokens), hidden_size=hidden, num_hidden_layers=4, num_attention_heads=4,
        intermediate_size=4 * hidden, max_position_embeddings=1024, eos_token_id=tokens.eos_token_id,
        pad_token_id=tokens.pad_token_id, bos_token_id=None, **more,
    )  # fmt: skip
    kind.from_config(config).save_pretrained(folder)
    tokens.save_pretrained(folder)


def measure(steps: int, hidden: int, folder: Path) -> dict[str, tuple[float, float, float]]:
    """By reward model: median processor seconds of a step, and of scoring within it; tokens of a prompt."""
    own = tokenizer(2000, "<eos>", 0)
    save(folder / "policy", AutoModelForCausalLM, own, hidden)
    kinds = {"shared": own, "permuted": permuted(own), "foreign": tokenizer(1500, "<end>", 1)}
    for name, tokens in kinds.items():
        save(folder / name, AutoModelForSequenceClassification, tokens, hidden, num_labels=1)
    policy = load_policy(folder / "policy", torch.device("cpu"))
    policy.end_ids = frozenset()  # every completion runs to its limit
    batch = PROMPTS * K
    config = online.Online(
        policy=str(folder / "policy"), reward_model=None, task=NoTask(), regularizers=[KL(coef=0.05)],
        missing_eos=KeepScore(), episodes_per_update=batch, samples_per_prompt=K, total_episodes=batch * (steps + 1),
        epochs=1, temperature=1.0, max_completion_tokens=COMPLETION, probes=Probes(every=1), lr=1e-6,
        schedule=Constant(), optimizer=AdamW(), grad_clip=1.0,
    )  # fmt: skip
    codec, reference = Codec(policy.tokenizer, "raw"), policy.frozen_copy()
    scorers = {name: Scorer(load_reward_model(folder / name, torch.device("cpu")), codec) for name in kinds}
    optimizer = Optimizer(policy.parameters(), config.optimizer, config.lr, config.schedule, 10**6)
    update, budget = online.policy_step(config, policy, reference, optimizer), TokenBudget(config.compute.budget)
    states, draw = online.initial_states(config), random.Random(0)
    words = [word for word in own.get_vocab() if word.startswith("Ġ") and len(word) > 2]
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    scoring: dict[str, list[float]] = {name: [] for name in kinds}
    for step in range(1, steps + 2):
        texts = [" ".join(draw.choice(words)[1:] for _ in range(PROMPT_WORDS)) for _ in range(PROMPTS)]
        records = [PromptRecord(f"{step} {i}", text) for i, text in enumerate(texts)]
        prompts = [Prompt(record, codec.prompt(record)) for record in records]
        order = list(scorers)
        draw.shuffle(order)  # what comes first finds colder caches
        for name in order:
            timed = Timed(scorers[name])
            worker = online.rollout_worker(config, policy, reference, timed, codec)
            began = time.process_time()
            online.make_step(config, worker, update, states, prompts, step, budget)
            seconds[name].append(time.process_time() - began)
            scoring[name].append(timed.seconds)
    size = {name: sum(len(kinds[name].encode(text)) for text in texts) / PROMPTS for name in kinds}
    return {n: (statistics.median(seconds[n][1:]), statistics.median(scoring[n][1:]), size[n]) for n in kinds}


class Timed:
    """A scorer that tells how long it took."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer, self.seconds = scorer, 0.0

    def score(self, *arguments: Any) -> torch.Tensor:
        began = time.process_time()
        scores = self.scorer.score(*arguments)
        self.seconds += time.process_time() - began
        return scores


ABOUT = """\
# What a reward model with a tokenizer of its own costs

RLOO with KL in the reward, one epoch, `kl_prev` at every step; {batch} completions of {completion} tokens to {prompts}
prompts of {words} words; GPT-NeoX policy, reference and reward model of 4 layers with random weights, one thread.
CPU s: medians of {steps} steps, in turn, in one process. Aim: at most {limit} times a step where the texts are as long
(by prompt; the samples of random weights are not text, and become up to a fifth longer when they are encoded again). A
tokenizer that makes more tokens makes the body work more, too. Made by `python bench/foreign_reward_model.py`.
Machine: {machine}.

| hidden size | reward model | tokens a prompt | CPU s a step | scoring | ratio of steps | more scoring / step |
|---|---|---|---|---|---|---|
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=Path(__file__).with_suffix(".md"))
    parser.add_argument("--steps", type=int, default=12)
    options = parser.parse_args()
    silence_transformers()
    torch.set_num_threads(1)
    about = {"shared": "the policy's tokenizer", "permuted": "the same in another order", "foreign": "another BPE"}
    text = ABOUT.format(
        batch=PROMPTS * K, completion=COMPLETION, prompts=PROMPTS, words=PROMPT_WORDS, steps=options.steps,
        limit=LIMIT, machine=machine(),
    )  # fmt: skip
    worst = 0.0
    for hidden in (64, 256):
        folder = Path(tempfile.mkdtemp())
        try:
            found = measure(options.steps, hidden, folder)
        finally:
            shutil.rmtree(folder)
        base, base_scoring, _ = found["shared"]
        for name, (step, scoring, size) in found.items():
            worst = max(worst, step / base if name == "permuted" else 0.0)
            text += f"| {hidden} | {about[name]} | {size:.0f} | {step:.3f} | {scoring:.4f} | {step / base:.2f} | "
            text += f"{(scoring - base_scoring) / base:+.1%} |\n"
    options.table.write_text(text, encoding="utf-8")
    print(text)
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())

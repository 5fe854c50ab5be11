"""TRL's time over ours on the same tokens and weights, step by step in turn, one thread; peak memory each in a process.

    python bench/vs_trl.py [--algo rloo|dpo|simpo] [--shape mini|mini-full|70m|smollm2] [--compact] [--repeats N]
                           [--json bench/vs_trl.jsonl] [--again] [--smollm2 FOLDER]

Without --algo and --shape: all rows of the table. Needs TRL (`pip install trl`). Our step is the default step of the
product: sampling, scoring, default probes, records. TRL samples; our sampler does all its work and then takes TRL's
token, so that both train on the same completions. The rows called compact give TRL what it does on a GPU only: its head
on the labeled rows alone. Prints a line of JSON for each row, appends it to the file of --json, where rows that stand
there are skipped, and writes the table beside that file, with the ending .md.
Seconds are of processor time (one thread), which a neighbor on the machine distorts less than it distorts the clock.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
os.environ |= {"TQDM_DISABLE": "1", "TRL_EXPERIMENTAL_SILENCE": "1", "WANDB_DISABLED": "true"}

import numpy as np
import torch
from floor import Lengths, floor
from floor import measure as measure_rates
from measuring import machine
from stages import Clock, clock

from overopt.config import block
from overopt.engine import sampler
from overopt.engine.memory import TokenBudget
from overopt.engine.optimizer import AdamW, Constant, Optimizer
from overopt.engine.packing import Tree
from overopt.models.load import load_policy
from overopt.models.text import Codec, word_tokenizer
from overopt.objectives.advantages import RLOO
from overopt.objectives.missing_eos import KeepScore
from overopt.objectives.pair_losses import DPO, SimPO
from overopt.objectives.regularizers import KL
from overopt.planning.work import Shape as ArithmeticShape
from overopt.tasks import Miniature
from overopt.training import rollout
from overopt.training.data import Prompt
from overopt.training.preference_step import PreferenceStep
from overopt.training.probes import Probes
from overopt.training.reference_logps import Item
from overopt.training.stages import offline, online
from overopt.types import PromptRecord

HERE = Path(__file__).parent
LR, BETA, DPO_BETA, SIMPO_BETA, SIMPO_GAMMA = 1e-6, 0.05, 0.1, 2.0, 0.5


@dataclass(frozen=True)
class Shape:
    """A model and the sizes of its batches."""

    prompt: tuple[int, int]
    response: tuple[int, int] = (16, 53)
    """Tokens of a preferred or rejected completion."""
    limit: int = 53
    """Most tokens of a sampled completion."""
    completions: int = 0
    """Of an RLOO step."""
    pairs: int = 0
    architecture: dict[str, int] = field(default_factory=dict)
    """Of a GPT-NeoX with random weights; empty: the folder that --smollm2 names."""
    group: int = 4
    ends: bool = True
    """Whether completions end of themselves, one token in thirty-three; else they run to their limit."""
    probes: int | None = None
    """Steps between measurements of `kl_prev`; None: as by default, which outside the miniature is four."""
    repeats: int | None = None


MINI = {"hidden": 128, "layers": 4, "heads": 4, "vocabulary": 512}
SHAPES = {
    "mini": Shape((48, 80), completions=64, pairs=16, architecture=MINI, probes=1),
    "mini-full": Shape((48, 80), (52, 52), completions=64, pairs=16, architecture=MINI, ends=False, probes=1),
    "70m": Shape(
        (200, 400), completions=16, pairs=8, architecture={"hidden": 512, "layers": 6, "heads": 8, "vocabulary": 50304}
    ),
    "smollm2": Shape((100, 190), (16, 31), limit=32, completions=8, pairs=4, ends=False, repeats=3),
}


@dataclass(frozen=True)
class Row:
    """One line of the table, with what it must reach and where the arithmetic points."""

    algorithm: str
    shape: str
    compact: bool = False
    must: float | None = None
    aim: float | None = None
    memory: float | None = None
    """Least quotient of the peaks."""

    @property
    def name(self) -> str:
        return f"{self.shape}-{self.algorithm}" + "-compact" * self.compact

    @property
    def thinned(self) -> bool:
        """Whether `kl_prev` is measured at some steps only."""
        return self.algorithm == "rloo" and SHAPES[self.shape].probes is None


TABLE = [
    Row("rloo", "mini", must=3.5, aim=6),
    Row("rloo", "mini-full", must=1.8, aim=3.5),
    Row("dpo", "mini", must=2.5, aim=4),
    Row("simpo", "mini", must=2, aim=3.5),
    Row("rloo", "70m", must=10, aim=16, memory=4),
    Row("rloo", "70m", compact=True, must=4, aim=6, memory=1.8),
    Row("dpo", "70m", must=6.5, aim=8),
    Row("dpo", "70m", compact=True, must=2.3, aim=3),
    Row("simpo", "70m", must=4, aim=6),
    Row("rloo", "smollm2", must=2.7, aim=4),
    Row("rloo", "smollm2", compact=True, must=2, aim=2.8),
]
"""What is measured without --algo and --shape; other combinations can be asked for."""
ALGORITHMS = ("rloo", "dpo", "simpo")
THINNED_REPEATS = 3
"""Least repeats where `kl_prev` is thinned: steps 2 to 4 hold its pass once."""


def score(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
    """The reward of both sides: any deterministic function of the text."""
    texts = [re.sub(r"<\|.*?\|>|\s", "", text) for text in completions]
    return [sum(map(ord, text)) % 101 / 101 for text in texts]


@block
class NoTask(Miniature):
    """A raw task without a gold reward; the benchmark hands over the prompts itself."""

    has_gold: ClassVar[bool] = False  # type: ignore[assignment]

    def gold(self, record: Any, completion: Any) -> None:
        return None


# -- models and data ---------------------------------------------------------------------------------------------------


def model_folder(row: Row, options: argparse.Namespace) -> Path:
    """A Hugging Face folder: random weights whose end-of-sequence logit is set by the row, or real ones."""
    shape = SHAPES[row.shape]
    if not shape.architecture:
        return Path(options.smollm2)
    folder = Path(options.cache) / row.shape
    if not (folder / "config.json").is_file():
        make_neox(shape.architecture, shape.ends).save_pretrained(folder)
        vocabulary = ["<|padding|>", "<|endoftext|>", *(f"w{i}" for i in range(2, shape.architecture["vocabulary"]))]
        word_tokenizer(vocabulary).save_pretrained(folder)
    return folder


def make_neox(size: dict[str, int], ends: bool) -> Any:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=size["vocabulary"], hidden_size=size["hidden"], num_hidden_layers=size["layers"],
        num_attention_heads=size["heads"], intermediate_size=4 * size["hidden"], max_position_embeddings=2048,
        bos_token_id=1, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    model = GPTNeoXForCausalLM(config)
    # A constant direction in the last norm's bias: along it lies the logit of the end, the same at every token.
    direction, strength = torch.nn.functional.normalize(torch.randn(size["hidden"]), dim=0), 10.0
    logit = np.log(0.03 * size["vocabulary"]) if ends else -20.0
    with torch.no_grad():
        model.gpt_neox.final_layer_norm.bias.copy_(strength * direction)
        head = model.get_output_embeddings().weight
        head.sub_((head @ direction)[:, None] * direction)
        head[1] = logit / strength * direction
        head[0] = -20.0 / strength * direction  # padding is never drawn
    return model


def texts(tokenizer: Any, count: int, low: int, high: int, rng: random.Random) -> list[str]:
    """Texts of so many tokens: words of the tokenizer that stand for themselves."""
    vocabulary = sorted(w for w in tokenizer.get_vocab() if re.fullmatch(r"w\d+|Ġ[a-z]{3,9}", w))
    return [" ".join(rng.choice(vocabulary).lstrip("Ġ") for _ in range(rng.randint(low, high))) for _ in range(count)]


# -- TRL ---------------------------------------------------------------------------------------------------------------


@dataclass
class TRL:
    """A trainer of TRL's that stops after each step to let the other side make the same step."""

    row: Row
    folder: Path
    steps: int
    on_step: Callable[[dict[str, Any]], None]
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    captured: dict[str, Any] = field(default_factory=dict)
    trainer: Any = None

    def build(self) -> None:
        import transformers
        from datasets import disable_progress_bars

        transformers.logging.set_verbosity_error()
        disable_progress_bars()
        if self.row.compact:
            import trl.trainer.utils

            trl.trainer.utils._use_triton = lambda device: True
        self.trainer = self._rloo() if self.row.algorithm == "rloo" else self._pairs()
        inner = self.trainer.compute_loss

        def compute_loss(model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
            if self.row.algorithm != "rloo":
                self.captured = pairs_of(inputs)
            result = inner(model, inputs, *rest, **named)
            self.losses.append(float((result[0] if isinstance(result, tuple) else result).detach()))
            return result

        self.trainer.compute_loss = compute_loss

    def train(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            self.trainer.train()

    def _common(self) -> dict[str, Any]:
        shape = SHAPES[self.row.shape]
        batch = shape.completions if self.row.algorithm == "rloo" else shape.pairs
        return {
            "output_dir": str(self.folder.parent / "trl"), "use_cpu": True,
            "bf16": False, "gradient_checkpointing": False,
            "report_to": [], "save_strategy": "no",
            "logging_steps": 1000, "disable_tqdm": True, "max_steps": self.steps,
            "learning_rate": LR, "lr_scheduler_type": "constant", "per_device_train_batch_size": batch,
            "gradient_accumulation_steps": 1, "seed": 0, "dataloader_num_workers": 0, "dataloader_pin_memory": False,
            "optim": "adamw_torch_fused",
        }  # fmt: skip

    def _parts(self) -> tuple[Any, Any, Any]:
        from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

        outer = self

        class Clock(TrainerCallback):  # type: ignore[misc]
            began = 0.0

            def on_step_begin(self, *rest: Any, **named: Any) -> None:
                Clock.began = Clock.began or time.process_time()

            def on_step_end(self, *rest: Any, **named: Any) -> None:
                outer.seconds.append(time.process_time() - Clock.began)
                outer.on_step(outer.captured)
                Clock.began = time.process_time()

        model = AutoModelForCausalLM.from_pretrained(self.folder, dtype=torch.float32)
        return model, AutoTokenizer.from_pretrained(self.folder, padding_side="left"), Clock()

    def _rloo(self) -> Any:
        from datasets import Dataset
        from trl import RLOOConfig, RLOOTrainer

        model, tokenizer, clock = self._parts()
        shape = SHAPES[self.row.shape]
        count = self.steps * shape.completions // shape.group
        prompts = texts(tokenizer, count, *shape.prompt, random.Random(0))
        config = RLOOConfig(
            **self._common(), num_generations=shape.group, max_completion_length=shape.limit,
            temperature=1.0, top_k=0, beta=BETA,
        )  # fmt: skip
        if not shape.ends:
            model.generation_config.suppress_tokens = None
        trainer = RLOOTrainer(
            model=model, reward_funcs=score, args=config, train_dataset=Dataset.from_dict({"prompt": prompts}),
            processing_class=tokenizer, callbacks=[clock],
        )  # fmt: skip
        generate = trainer._generate_single_turn

        def capture(*rest: Any, **named: Any) -> Any:
            result = generate(*rest, **named)
            self.captured = {"prompts": rest[0][:: shape.group], "completions": result}
            return result

        trainer._generate_single_turn = capture
        return trainer

    def _pairs(self) -> Any:
        from datasets import Dataset
        from trl import DPOConfig, DPOTrainer
        from trl.experimental.cpo import CPOConfig, CPOTrainer

        model, tokenizer, clock = self._parts()
        shape, rng = SHAPES[self.row.shape], random.Random(0)
        count = self.steps * shape.pairs
        prompts = texts(tokenizer, count, *shape.prompt, rng)
        chosen, rejected = (texts(tokenizer, count, *shape.response, rng) for _ in range(2))
        data = Dataset.from_list(
            [
                {"prompt": p, "chosen": f" {c}", "rejected": f" {r}"}
                for p, c, r in zip(prompts, chosen, rejected, strict=True)
            ]
        )
        if self.row.algorithm == "dpo":
            config = DPOConfig(**self._common(), max_length=2048, beta=DPO_BETA)
            return DPOTrainer(
                model=model, args=config, train_dataset=data, processing_class=tokenizer, callbacks=[clock]
            )
        config = CPOConfig(
            **self._common(), max_length=2048, loss_type="simpo", cpo_alpha=0.0, simpo_gamma=SIMPO_GAMMA,
            beta=SIMPO_BETA,
        )  # fmt: skip
        return CPOTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer, callbacks=[clock])


def pairs_of(inputs: dict[str, Any]) -> dict[str, Any]:
    """The tokens of a batch of pairs, as DPOTrainer or CPOTrainer lays them out."""
    sequences = []
    if "completion_mask" in inputs:
        parts = zip(inputs["input_ids"], inputs["attention_mask"], inputs["completion_mask"], strict=True)
        sequences = [(ids[(mask - own).bool()].tolist(), ids[own.bool()].tolist()) for ids, mask, own in parts]
    else:
        for side in ("chosen", "rejected"):
            names = (f"{side}_input_ids", f"{side}_attention_mask", f"{side}_labels")
            for ids, mask, labels in zip(*(inputs[name] for name in names), strict=True):
                own = (labels != -100) & mask.bool()
                sequences.append((ids[mask.bool() & ~own].tolist(), ids[own].tolist()))
    half = len(sequences) // 2
    chosen, rejected = sequences[:half], sequences[half:]
    assert all(c[0] == r[0] for c, r in zip(chosen, rejected, strict=True))
    pairs = [[c[1], r[1]] for c, r in zip(chosen, rejected, strict=True)]
    return {"prompts": [prompt for prompt, _ in chosen], "pairs": pairs}


# -- ours --------------------------------------------------------------------------------------------------------------


class Forced(sampler.DrawKey):
    """Hands out the tokens of given completions in place of random numbers, a number below 0 where there is none."""

    tokens: ClassVar[dict[tuple[str, int], list[int]]] = {}

    def uniforms(self, prompt_id: str, sample: int, count: int) -> np.ndarray:
        ids = self.tokens[prompt_id, sample]
        return np.array(ids + [0] * (count - len(ids)), dtype=np.float64)


@contextlib.contextmanager
def forced_tokens() -> Iterator[None]:
    """Choices do their work, then take the token that the key holds."""
    choose, key = sampler.choose, rollout.DrawKey

    def forced(probability_RV: torch.Tensor, temperature: float, uniform: torch.Tensor) -> torch.Tensor:
        choose(probability_RV, temperature, uniform * 0.5 / probability_RV.shape[1])
        return uniform.long()

    sampler.choose, rollout.DrawKey = forced, Forced
    try:
        yield
    finally:
        sampler.choose, rollout.DrawKey = choose, key


@dataclass
class Ours:
    """The steps of `train_online` or `train_offline` on what TRL used."""

    row: Row
    folder: Path
    steps: int
    out: Path
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    lengths: list[list[Lengths]] = field(default_factory=list)
    """Of every step."""
    parts: list[dict[str, float]] = field(default_factory=list)
    """Seconds of every step, by part."""
    session: Any = None
    watch: Clock = field(default_factory=clock)

    def build(self) -> None:
        shape = SHAPES[self.row.shape]
        common: dict[str, Any] = {
            "policy": str(self.folder), "task": NoTask(), "lr": LR, "schedule": Constant(), "grad_clip": 1.0,
            "optimizer": AdamW(eps=1e-8),
        }  # fmt: skip
        if self.row.algorithm == "rloo":
            self.config: Any = online.Online(
                **common, reward_model=None, regularizers=[KL(coef=BETA)], advantage=RLOO(), missing_eos=KeepScore(),
                rewards=[{"name": "vs_trl:score", "weight": 1.0}], episodes_per_update=shape.completions,
                samples_per_prompt=shape.group, total_episodes=shape.completions * self.steps, epochs=1,
                temperature=1.0, max_completion_tokens=shape.limit,
                probes=Probes(every=shape.probes),
            )  # fmt: skip
        else:
            loss = DPO(beta=DPO_BETA) if self.row.algorithm == "dpo" else SimPO(alpha=SIMPO_BETA, gamma=SIMPO_GAMMA)
            self.config = offline.Offline(**common, loss=loss, batch_size=shape.pairs, steps=self.steps)
        self.policy = load_policy(self.folder, torch.device("cpu"))
        self.budget = TokenBudget(self.config.compute.budget)
        settings = self.config.optimizer, self.config.lr, self.config.schedule, self.steps
        self.optimizer = Optimizer(self.policy.parameters(), *settings)
        self.made = self._step_online() if self.row.algorithm == "rloo" else self._step_offline()
        next(self.made)

    def step(self, captured: dict[str, Any]) -> None:
        self.watch.take()
        began = time.process_time()
        metrics = self.made.send(captured)
        self.seconds.append(time.process_time() - began)
        self.parts.append(self.watch.take())
        self.losses.append(metrics["loss"])
        self.lengths.append(lengths_of(captured, SHAPES[self.row.shape].group))
        next(self.made, None)

    def passes(self, step: int) -> dict[str, float]:
        """How often the necessary passes are made at a step, from 1."""
        if self.row.algorithm == "rloo":
            due = self.config.probes.due(step, cheap=False)
            return {"sampling": 1, "reference": 1, "update": 1, "kl_prev": float(due)}
        return {"reference": float("reference" in self.config.loss.needs), "update": 1}

    def _step_online(self) -> Iterator[Any]:
        """The body of `train_online`'s loop."""
        config = self.config
        reference, codec = self.policy.frozen_copy(), Codec(self.policy.tokenizer, "raw")
        worker = online.rollout_worker(config, self.policy, reference, None, codec)
        update = online.policy_step(config, self.policy, reference, self.optimizer)
        states = online.initial_states(config)
        for step in range(1, self.steps + 1):
            captured = yield
            prompts = [Prompt(PromptRecord(f"{step} {i}", ""), ids) for i, ids in enumerate(captured["prompts"])]
            for i, ids in enumerate(captured["completions"]):
                place, group = divmod(i, config.samples_per_prompt)
                Forced.tokens[prompts[place].record.prompt_id, group] = ids
            with forced_tokens():
                made = online.make_step(config, worker, update, states, prompts, step, self.budget)
            states = made.states
            yield made.metrics

    def _step_offline(self) -> Iterator[Any]:
        """The body of `train_offline`'s loop."""
        config = self.config
        reference = self.policy.frozen_copy() if "reference" in config.loss.needs else None
        update = PreferenceStep(
            self.policy, reference, self.optimizer, config.loss, config.temperature, config.grad_clip
        )
        for step in range(1, self.steps + 1):
            captured = yield
            items = [Item([Tree(p, pair)]) for p, pair in zip(captured["prompts"], captured["pairs"], strict=True)]
            yield update(items, {}, step, self.budget)[0]


def lengths_of(captured: dict[str, Any], group: int) -> list[Lengths]:
    """Of a step's prompts and completions."""
    if "pairs" in captured:
        return [(len(p), list(map(len, pair))) for p, pair in zip(captured["prompts"], captured["pairs"], strict=True)]
    sizes = list(map(len, captured["completions"]))
    return [(len(p), sizes[i * group : (i + 1) * group]) for i, p in enumerate(captured["prompts"])]


# -- measuring ---------------------------------------------------------------------------------------------------------


def timed(row: Row, options: argparse.Namespace, repeats: int) -> dict[str, Any]:
    """Both sides in one process, a step each in turn; the first step of each is not counted."""
    torch.set_num_threads(1)
    folder = model_folder(row, options)
    steps = repeats + 1
    ours = Ours(row, folder, steps, fresh(options))
    theirs = TRL(row, folder, steps, ours.step)
    theirs.build()
    ours.build()
    before = {name: p.detach().clone() for name, p in ours.policy.model.named_parameters()}
    theirs.train()
    trl_s, ours_s = statistics.median(theirs.seconds[1:]), statistics.median(ours.seconds[1:])
    if row.thinned:  # what is thinned counts in full measure: as the mean does
        ours_s = max(ours_s, statistics.mean(ours.seconds[1:]))
    return {
        "ratio": trl_s / ours_s,
        "trl_s": trl_s,
        "ours_s": ours_s,
        "trl_all_s": theirs.seconds[1:],
        "ours_all_s": ours.seconds[1:],
        "update_cosine": cosine(before, theirs.trainer.model, ours.policy.model),
        "loss_difference": max(abs(a - b) for a, b in zip(theirs.losses, ours.losses, strict=True)),
        **floor_of(ours),
    }


def floor_of(ours: Ours) -> dict[str, Any]:
    """The floor of our counted steps, their mean, with its parts and the rates it rests on."""
    model = ours.policy.model
    shape, counted = ArithmeticShape.of(model.config), ours.lengths[1:]
    rates = measure_rates(model, counted[0])
    steps = [floor(shape, rates, trees, ours.passes(step)) for step, trees in enumerate(counted, start=2)]
    parts = {part: statistics.mean(step[part] for step in steps) for part in steps[0]}
    sampled = sum(len(completions) for _, completions in counted[0])
    gigaflops = {"forward": rates.forward, "backward": rates.backward}
    gigaflops |= {"head forward": rates.head_forward, "head backward": rates.head_backward}
    if "sampling" in parts:
        gigaflops |= {f"decoding, {n} rows": rates.decoding[n] for n in (min(rates.decoding), sampled)}
        gigaflops |= {f"head, {n} rows": rates.head_decoding[n] for n in (min(rates.decoding), sampled)}
    names = sorted({name for step in ours.parts for name in step})
    return {
        "floor_s": sum(parts.values()),
        "floor_parts_s": parts,
        "ours_parts_s": {name: statistics.mean(step.get(name, 0.0) for step in ours.parts[1:]) for name in names},
        "gigaflops": {name: rate / 1e9 for name, rate in gigaflops.items()},
    }


def cosine(before: dict[str, torch.Tensor], theirs: Any, ours: Any) -> float:
    """Between what both did to the weights."""
    other, dot, norms = dict(theirs.named_parameters()), 0.0, [0.0, 0.0]
    for name, p in ours.named_parameters():
        a, b = ((x.detach() - before[name]).double().flatten() for x in (p, other[name]))
        dot += float(a @ b)
        norms = [norms[0] + float(a @ a), norms[1] + float(b @ b)]
    return dot / (norms[0] * norms[1]) ** 0.5


def memory(row: Row, options: argparse.Namespace, side: str, steps: int = 2) -> dict[str, float]:
    """Peak resident memory of one side's steps, less what it held once its models were loaded."""
    torch.set_num_threads(1)
    folder, tape = model_folder(row, options), Path(options.cache) / f"{row.name}.tape.json"
    if side == "trl":
        captured: list[dict[str, Any]] = []
        theirs = TRL(row, folder, steps, captured.append)
        theirs.build()
        base = settle()
        theirs.train()
        tape.write_text(json.dumps(captured))
    else:
        ours = Ours(row, folder, steps, fresh(options))
        ours.build()
        base = settle()
        for captured_step in json.loads(tape.read_text()):
            ours.step(captured_step)
    return {f"{side}_peak_mb": status("VmHWM") - base}


def settle() -> float:
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def status(name: str) -> float:
    """A line of this process's status, in MB."""
    text = Path("/proc/self/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+)", text)[1]) / 1024  # type: ignore[index]


def fresh(options: argparse.Namespace) -> Path:
    return Path(options.cache) / f"run-{os.getpid()}"


def main() -> int:
    options = parse()
    Path(options.cache).mkdir(parents=True, exist_ok=True)
    if options.part:
        row = Row(options.algo, options.shape, options.compact)
        part = timed(row, options, options.repeats) if options.part == "timed" else memory(row, options, options.part)
        print(json.dumps(part))
        return 0
    for row in chosen(options):
        if not SHAPES[row.shape].architecture and not (Path(options.smollm2) / "config.json").is_file():
            print(f"{row.name}: left out, it needs --smollm2 FOLDER")
        elif options.again or COMPLETE - set(standing(options.json).get(row.name, {})):
            line = measure(row, options)
            with options.json.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        options.json.with_suffix(".md").write_text(table(standing(options.json)), encoding="utf-8")
    print(table(standing(options.json)))
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algo", choices=ALGORITHMS, help="with --shape a row of its own, alone its rows of the table")
    parser.add_argument("--shape", choices=list(SHAPES))
    parser.add_argument("--compact", action="store_true", help="only rows in which TRL's head sees the labeled rows")
    parser.add_argument("--repeats", type=int, help="counted steps of each side; default: 5, with SmolLM2 3")
    parser.add_argument("--json", type=Path, default=HERE / "vs_trl.jsonl", help="where a line is added for each row")
    parser.add_argument("--again", action="store_true", help="measure rows that stand there, too")
    parser.add_argument(
        "--smollm2", default=HERE.parent / "out/example/model", help="its folder; `make example` makes it"
    )
    parser.add_argument("--cache", default=HERE.parent / "out/bench", help="where models and runs are put")
    parser.add_argument("--part", choices=("timed", "trl", "ours"), help=argparse.SUPPRESS)
    return parser.parse_args()


def chosen(options: argparse.Namespace) -> list[Row]:
    """The row asked for, or those of the table."""
    rows = [
        row
        for row in TABLE
        if options.algo in (None, row.algorithm) and options.shape in (None, row.shape)
        if not options.compact or row.compact
    ]
    if options.algo and options.shape:
        rows = [row for row in rows if row.compact == options.compact]
        return rows or [Row(options.algo, options.shape, options.compact)]
    return rows


def standing(lines: Path) -> dict[str, Any]:
    """The last line of each row."""
    return {line["row"]: line for line in map(json.loads, lines.read_text().splitlines())} if lines.exists() else {}


def measure(row: Row, options: argparse.Namespace) -> dict[str, Any]:
    """A row of the table, each part in a process of its own."""
    repeats = options.repeats or SHAPES[row.shape].repeats or 5
    repeats = max(repeats, THINNED_REPEATS) if row.thinned else repeats
    command = [sys.executable, __file__, "--algo", row.algorithm, "--shape", row.shape, *["--compact"] * row.compact]
    command += ["--repeats", str(repeats), "--cache", str(options.cache), "--smollm2", str(options.smollm2)]
    line: dict[str, Any] = {"row": row.name, "machine": machine(), "repeats": repeats}
    for part in ("timed", "trl", "ours"):
        done = subprocess.run([*command, "--part", part], stdout=subprocess.PIPE, text=True, check=True)
        line |= json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(line), flush=True)
    return line


COMPLETE = {"ratio", "trl_s", "ours_s", "floor_s", "trl_peak_mb", "ours_peak_mb", "update_cosine", "loss_difference"}
"""What a row must hold to stand."""
ABOUT = """\
One thread, fp32, seconds of processor time a step, medians over interleaved repeats (the first step of each side is not
counted); peaks in a process of each side's own, above what the loaded models take. Made by `python bench/vs_trl.py`;
GPU: not measured. `kl_prev` is measured at every step in the mini rows; elsewhere at every fourth, as by default, and
there ours is the mean, so that the pass counts in the steps that hold it (one in three with three repeats). The
reference's pass of DPO counts in ours. Must and aim are what the row was held to.

**Floor**: FLOPs of the arithmetic that our step cannot do without, over the rates at which this machine makes such
products (`bench/floor.py`). It holds: sampling, the prompts in one pass and then a pass a token with the rows that are
still being written; the reference's forward pass; the update's forward pass and its backward pass of twice as many
FLOPs; `kl_prev`'s pass in the share of counted steps that make it. A prompt counts once for all its completions, and
the last layer only where a token is predicted. Rates are measured beside the row with the model's own sizes: the
fastest of a few runs, by the faster of torch's and oneDNN's products; decoding's with as few rows as it has. It does
not hold: softmax, normalization, activations, embeddings, the optimizer, text, reward functions, records, Python.
Attention counts at the rate of the linear maps, which its small products do not reach. Nor is it the least that
mathematics allows: a step that kept the sampler's activations could spare the update's forward pass.
"""


def table(known: dict[str, Any]) -> str:
    """The rows as Markdown: what was compared, then what the floors are made of."""
    order = [row.name for row in TABLE]
    extra = [Row(a, s, c) for s in SHAPES for a in ALGORITHMS for c in (False, True)]
    rows = [row for row in [*TABLE, *(row for row in extra if row.name not in order)] if row.name in known]
    head = "| row | ratio | must | aim | TRL s | ours s | floor s | ours / floor "
    head += "| peak MB TRL | ours | ratio | must | cosine of updates | loss difference | repeats |"
    text = [head, "|---" * 15 + "|", *(compared(row, known[row.name]) for row in rows)]
    parts = ["| row | sampling | reference | update | kl_prev | all else | rates, Gflop/s |", "|---" * 7 + "|"]
    parts += [made_of(row, known[row.name]) for row in rows if "floor_parts_s" in known[row.name]]
    machines = sorted({line["machine"] for line in known.values()})
    return (
        f"# TRL 1.16 and overopt on the same tokens and weights\n\n{ABOUT}\nMachine: {'; '.join(machines)}.\n\n"
        + "\n".join(text)
        + "\n\n## What the floors are made of\n\nSeconds a step, means: the floor's, then ours.\n\n"
        + "\n".join(parts)
        + "\n"
    )


def compared(row: Row, line: dict[str, Any]) -> str:
    floor_s, theirs, ours = (line.get(name) for name in ("floor_s", "trl_peak_mb", "ours_peak_mb"))
    cells = [row.name, f"{line['ratio']:.2f}", shown(row.must), shown(row.aim)]
    cells += [shown(line["trl_s"]), shown(line["ours_s"]), shown(floor_s)]
    cells.append(f"{line['ours_s'] / floor_s:.2f}" if floor_s else "-")
    cells += ["-"] * 3 if ours is None else [f"{theirs:.0f}", f"{ours:.0f}", f"{theirs / ours:.2f}"]
    cells += [shown(row.memory), f"{line['update_cosine']:.8f}", f"{line['loss_difference']:.1e}", str(line["repeats"])]
    return f"| {' | '.join(cells)} |"


NECESSARY = ("sampling", "reference", "update", "kl_prev")


def made_of(row: Row, line: dict[str, Any]) -> str:
    floors, ours = line["floor_parts_s"], line["ours_parts_s"]
    cells = [f"{shown(floors[part])}, {shown(ours.get(part, 0.0))}" if floors.get(part) else "-" for part in NECESSARY]
    cells.append(shown(sum(seconds for part, seconds in ours.items() if part not in NECESSARY)))
    cells.append(", ".join(f"{name} {rate:.0f}" for name, rate in line["gigaflops"].items()))
    return f"| {row.name} | {' | '.join(cells)} |"


def shown(number: float | None) -> str:
    return "-" if number is None else f"{number:.3g}"


if __name__ == "__main__":
    sys.exit(main())

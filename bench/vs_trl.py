"""TRL's time over ours on the same tokens and weights, step by step in turn, one thread; peak memory each in a process.

    python bench/vs_trl.py [--rows mini-rloo,70m-dpo] [--repeats 5] [--smollm2 FOLDER] [--out bench]

Needs TRL (`pip install trl`). Our step is the default step of the product: sampling, scoring, default probes, records.
TRL samples; our sampler does all its work and then takes TRL's token, so that both train on the same completions.
The rows called compact give TRL what it does on a GPU only: its head on the labeled rows alone.
Appends a line per finished row to OUT/vs_trl.jsonl, skips rows that stand there, and writes the table OUT/vs_trl.md.
Seconds are of processor time (one thread), which a neighbor on the machine distorts less than it distorts the clock.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import os
import platform
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

from overopt.config import block
from overopt.engine import sampler
from overopt.engine.optimizer import AdamW, Constant, Optimizer
from overopt.engine.packing import Tree
from overopt.models.load import load_policy
from overopt.models.text import Codec, word_tokenizer
from overopt.objectives.advantages import RLOO
from overopt.objectives.missing_eos import Keep
from overopt.objectives.pair_losses import DPO, SimPO
from overopt.objectives.regularizers import KL
from overopt.training import offline, online, rollouts
from overopt.training.data import Prompt
from overopt.training.probes import Probes
from overopt.training.reference_logps import Item
from overopt.training.session import Session
from overopt.types import PromptRecord

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


SHAPES = {
    "mini": Shape(
        (48, 80), completions=64, pairs=16, architecture={"hidden": 128, "layers": 4, "heads": 4, "vocabulary": 512}
    ),
    "70m": Shape(
        (200, 400), completions=16, pairs=8, architecture={"hidden": 512, "layers": 6, "heads": 8, "vocabulary": 50304}
    ),
    "smollm2": Shape((100, 190), limit=32, completions=8),
}


@dataclass(frozen=True)
class Row:
    """One line of the table, with what it must reach and where the arithmetic points."""

    shape: str
    algorithm: str
    must: float
    aim: float
    ends: bool = True
    """Whether completions end of themselves, one token in thirty-three; else they run to their limit."""
    compact: bool = False
    memory: tuple[float, float] | None = None
    repeats: int | None = None


ROWS = {
    "mini-rloo": Row("mini", "rloo", 3.5, 6),
    "mini-rloo-full": Row("mini", "rloo", 1.8, 3.5, ends=False),
    "mini-dpo": Row("mini", "dpo", 2.5, 4),
    "mini-simpo": Row("mini", "simpo", 2, 3.5),
    "70m-rloo": Row("70m", "rloo", 10, 16, memory=(4, 4.7)),
    "70m-rloo-compact": Row("70m", "rloo", 4, 6, compact=True, memory=(1.8, 2.1)),
    "70m-dpo": Row("70m", "dpo", 6.5, 8),
    "70m-dpo-compact": Row("70m", "dpo", 2.3, 3, compact=True),
    "70m-simpo": Row("70m", "simpo", 4, 6),
    "smollm2-rloo": Row("smollm2", "rloo", 2.7, 4, ends=False, repeats=3),
    "smollm2-rloo-compact": Row("smollm2", "rloo", 2, 2.8, ends=False, compact=True, repeats=3),
}


def score(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
    """The reward of both sides: any deterministic function of the text."""
    texts = [re.sub(r"<\|.*?\|>|\s", "", text) for text in completions]
    return [sum(map(ord, text)) % 101 / 101 for text in texts]


@block
class NoTask:
    """A task of nothing but prompts, which the benchmark hands over itself."""

    prompt_style: ClassVar[str] = "raw"
    has_gold: ClassVar[bool] = False

    def gold(self, record: Any, completion: Any) -> None:
        return None


# -- models and data ---------------------------------------------------------------------------------------------------


def model_folder(row: Row, options: argparse.Namespace) -> Path:
    """A Hugging Face folder: random weights whose end-of-sequence logit is set by the row, or real ones."""
    shape = SHAPES[row.shape]
    if not shape.architecture:
        return Path(options.smollm2)
    folder = Path(options.cache) / f"{row.shape}-{'ends' if row.ends else 'runs-on'}"
    if not (folder / "config.json").is_file():
        make_neox(shape.architecture, row.ends).save_pretrained(folder)
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
        if not self.row.ends:
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
    choose, key = sampler.choose, rollouts.DrawKey

    def forced(probability_RV: torch.Tensor, temperature: float, uniform: torch.Tensor) -> torch.Tensor:
        choose(probability_RV, temperature, uniform * 0.5 / probability_RV.shape[1])
        return uniform.long()

    sampler.choose, rollouts.DrawKey = forced, Forced
    try:
        yield
    finally:
        sampler.choose, rollouts.DrawKey = choose, key


@dataclass
class Ours:
    """The steps of `train_online` or `train_offline` on what TRL used."""

    row: Row
    folder: Path
    steps: int
    out: Path
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    session: Any = None

    def build(self) -> None:
        shape = SHAPES[self.row.shape]
        common: dict[str, Any] = {
            "policy": str(self.folder), "task": NoTask(), "lr": LR, "schedule": Constant(), "grad_clip": 1.0,
            "optimizer": AdamW(eps=1e-8),
        }  # fmt: skip
        if self.row.algorithm == "rloo":
            self.config: Any = online.Online(
                **common, reward_model=None, regularizers=[KL(coef=BETA)], advantage=RLOO(), missing_eos=Keep(),
                rewards=[{"name": "vs_trl:score", "weight": 1.0}], episodes_per_update=shape.completions,
                samples_per_prompt=shape.group, total_episodes=shape.completions * self.steps, epochs=1,
                temperature=1.0, max_completion_tokens=shape.limit,
                probes=Probes(every=1 if self.row.shape == "mini" else None),
            )  # fmt: skip
        else:
            loss = DPO(beta=DPO_BETA) if self.row.algorithm == "dpo" else SimPO(alpha=SIMPO_BETA, gamma=SIMPO_GAMMA)
            self.config = offline.Offline(**common, loss=loss, batch_size=shape.pairs, steps=self.steps)
        self.policy = load_policy(self.folder, torch.device("cpu"))
        self.session = Session(self.config, self.out, self.config.compute)
        self.session.start(self.steps)
        settings = self.config.optimizer, self.config.lr, self.config.schedule, self.steps
        self.optimizer = Optimizer(self.policy.parameters(), *settings)
        self.made = self._step_online() if self.row.algorithm == "rloo" else self._step_offline()
        next(self.made)

    def step(self, captured: dict[str, Any]) -> None:
        began = time.process_time()
        metrics = self.made.send(captured)
        self.seconds.append(time.process_time() - began)
        self.losses.append(metrics["loss"])
        next(self.made, None)

    def _step_online(self) -> Iterator[Any]:
        """The body of `train_online`'s loop."""
        config = self.config
        actors = rollouts.Actors(self.policy, self.policy.frozen_copy(), None, Codec(self.policy.tokenizer, "raw"))
        coefs = rollouts.Coefficients.initial(config)
        for step in range(1, self.steps + 1):
            captured = yield
            prompts = [Prompt(PromptRecord(f"{step} {i}", ""), ids) for i, ids in enumerate(captured["prompts"])]
            for i, ids in enumerate(captured["completions"]):
                place, group = divmod(i, config.samples_per_prompt)
                Forced.tokens[prompts[place].record.prompt_id, group] = ids
            with forced_tokens():
                metrics = online.make_step(config, actors, self.optimizer, self.session, coefs, {}, prompts, step)[0]
            yield metrics

    def _step_offline(self) -> Iterator[Any]:
        """The body of `train_offline`'s loop."""
        config = self.config
        reference = self.policy.frozen_copy() if "reference" in config.loss.needs else None
        for step in range(1, self.steps + 1):
            captured = yield
            items = [Item([Tree(p, pair)]) for p, pair in zip(captured["prompts"], captured["pairs"], strict=True)]
            yield offline.make_step(config, self.policy, reference, self.optimizer, self.session, items, {}, step)[0]


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
    if (
        ours.config.stage == "online" and row.shape != "mini"
    ):  # what is thinned counts in full measure: as the mean does
        ours_s = max(ours_s, statistics.mean(ours.seconds[1:]))
    return {
        "ratio": trl_s / ours_s,
        "trl_s": trl_s,
        "ours_s": ours_s,
        "trl_all_s": theirs.seconds[1:],
        "ours_all_s": ours.seconds[1:],
        "update_cosine": cosine(before, theirs.trainer.model, ours.policy.model),
        "loss_difference": max(abs(a - b) for a, b in zip(theirs.losses, ours.losses, strict=True)),
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
    folder, tape = model_folder(row, options), Path(options.cache) / f"{row.shape}-{row.algorithm}-{row.ends}.json"
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(ROWS), help="comma-separated")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--smollm2", help="folder with the weights of SmolLM2-135M (`make example` makes one)")
    parser.add_argument("--cache", default="out/bench", help="where models and runs are put")
    parser.add_argument("--out", type=Path, default=Path("bench"))
    parser.add_argument("--again", action="store_true", help="measure rows that stand in the table, too")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--part", choices=("timed", "trl", "ours"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    Path(options.cache).mkdir(parents=True, exist_ok=True)
    names = options.rows.split(",")
    if options.part:
        row = ROWS[names[0]]
        result = (
            timed(row, options, row.repeats or options.repeats)
            if options.part == "timed"
            else memory(row, options, options.part)
        )
        print(json.dumps(result))
        return 0
    lines = options.out / "vs_trl.jsonl"
    known = {line["row"]: line for line in map(json.loads, lines.read_text().splitlines())} if lines.exists() else {}
    for name in names:
        if not SHAPES[ROWS[name].shape].architecture and not options.smollm2:
            print(f"{name}: left out, it needs --smollm2 FOLDER")
        elif options.again or name not in known:
            known[name] = measure(name, options)
            with lines.open("a", encoding="utf-8") as file:
                file.write(json.dumps(known[name]) + "\n")
        (options.out / "vs_trl.md").write_text(table(known), encoding="utf-8")
    print(table(known))
    return 0


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """A row of the table, each part in a process of its own."""
    line: dict[str, Any] = {"row": name, "machine": machine(), "repeats": ROWS[name].repeats or options.repeats}
    parts = ["timed"] if options.no_memory else ["timed", "trl", "ours"]
    for part in parts:
        command = [sys.executable, __file__, "--rows", name, "--part", part, "--repeats", str(options.repeats)]
        command += ["--cache", options.cache] + (["--smollm2", options.smollm2] if options.smollm2 else [])
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        line |= json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(line), flush=True)
    return line


def machine() -> str:
    info = Path("/proc/cpuinfo").read_text()
    found = re.search(r"model name\s*:\s*(.*)", info)
    return f"{found[1] if found else platform.machine()}, torch {torch.__version__}"


def table(known: dict[str, Any]) -> str:
    """The rows as Markdown."""
    head = "| row | ratio | must | aim | TRL s | ours s | cosine of updates | loss difference | peak MB TRL / ours |"
    text = [head, "|---" * 9 + "|"]
    for name, row in ROWS.items():
        if name not in known:
            continue
        line = known[name]
        peak = "-"
        if "ours_peak_mb" in line:
            peak = f"{line['trl_peak_mb']:.0f} / {line['ours_peak_mb']:.0f}"
            peak += f" = {line['trl_peak_mb'] / line['ours_peak_mb']:.2f}"
        text.append(
            f"| {name} | {line['ratio']:.2f} | {row.must:g} | {row.aim:g} | {line['trl_s']:.3g} | {line['ours_s']:.3g} "
            f"| {line['update_cosine']:.8f} | {line['loss_difference']:.1e} | {peak} |"
        )
    machines = sorted({line["machine"] for line in known.values()})
    return (
        "# TRL 1.16 and overopt on the same tokens and weights\n\n"
        "One thread, fp32, seconds of processor time, medians over interleaved repeats. "
        "Made by `python bench/vs_trl.py`; GPU: not measured.\n"
        f"Machine: {'; '.join(machines)}.\n\n" + "\n".join(text) + "\n"
    )


if __name__ == "__main__":
    sys.exit(main())

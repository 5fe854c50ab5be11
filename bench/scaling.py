"""What a step of online training costs against its sizes: processor time, the clock's, and peak memory, with exponents.

    python bench/scaling.py [--table bench/scaling.md] [--only k,prompt] [--repeats 3]

Each point is a process of its own that makes steps of `train_online` (RLOO, KL, `kl_prev` at every step) on a GPT-NeoX
with random weights whose completions run to their limit: the second and further steps count, their median. Exponents
are slopes of log cost on log size. All in about five CPU-minutes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from measuring import cpu_seconds_of_children, exponent, machine
from vs_trl import NoTask, make_neox, settle, status

from overopt.engine.memory import TokenBudget
from overopt.engine.optimizer import AdamW, Constant, Optimizer
from overopt.models.body import silence_transformers
from overopt.models.load import load_policy
from overopt.models.text import Codec, word_tokenizer
from overopt.objectives.missing_eos import KeepScore
from overopt.objectives.regularizers import KL
from overopt.training.data import Prompt
from overopt.training.probes import Probes
from overopt.training.stages import online
from overopt.types import PromptRecord

VOCABULARY = 512


@dataclass(frozen=True)
class Point:
    """The sizes of a step."""

    prompts: int = 16
    k: int = 4
    """Completions of a prompt."""
    prompt: int = 64
    completion: int = 32
    hidden: int = 128
    layers: int = 4
    threads: int = 1

    @property
    def parameters(self) -> int:
        """Of the layers' linear maps, which each token is multiplied with."""
        return 12 * self.layers * self.hidden**2


@dataclass(frozen=True)
class Cost:
    cpu_s: float
    clock_s: float
    peak_mb: float


@dataclass(frozen=True)
class Sweep:
    """One size of the step is varied, all others are the base's."""

    about: str
    size: str
    points: Sequence[tuple[float, Point]]
    """The size as it enters the fit, and the point."""


def sweep(about: str, size: str, sizes: Sequence[int], **other: int) -> Sweep:
    base = replace(Point(), **other)
    return Sweep(about, size, [(value, replace(base, **{size: value})) for value in sizes])


SWEEPS = {
    "k": sweep("completions of a prompt, 16 prompts", "k", [2, 4, 8, 16]),
    "k-fixed": Sweep(
        "completions of a prompt, 64 completions in all", "k", [(k, Point(prompts=64 // k, k=k)) for k in (2, 4, 8, 16)]
    ),
    "prompt": sweep("tokens of a prompt", "prompt", [32, 64, 128, 256, 512]),
    "completion": sweep("tokens of a completion", "completion", [8, 16, 32, 64, 128]),
    "model": Sweep(
        "parameters of the layers (hidden size 64 to 512)",
        "parameters",
        [(p.parameters, p) for p in (Point(hidden=hidden) for hidden in (64, 128, 256, 512))],
    ),
    "batch": sweep("prompts of a step, 4 completions each", "prompts", [4, 8, 16, 32, 64]),
    "threads": sweep("threads, at hidden size 256", "threads", [1, 2], hidden=256),
}


def score(prompts: Sequence[str], completions: Sequence[str], **columns: object) -> list[float]:
    """A reward of any kind."""
    return [sum(map(ord, text)) % 101 / 101 for text in completions]


def measure(point: Point, repeats: int) -> Cost:
    """The steps of one point; in a process of its own, whose peak it is."""
    torch.set_num_threads(point.threads)
    folder = Path(tempfile.mkdtemp())
    try:
        return _measure(point, repeats, folder)
    finally:
        shutil.rmtree(folder)


def _measure(point: Point, repeats: int, folder: Path) -> Cost:
    size = {"hidden": point.hidden, "layers": point.layers, "heads": 4, "vocabulary": VOCABULARY}
    make_neox(size, ends=False).save_pretrained(folder / "model")
    vocabulary = ["<|padding|>", "<|endoftext|>", *(f"w{i}" for i in range(2, VOCABULARY))]
    word_tokenizer(vocabulary).save_pretrained(folder / "model")
    batch = point.prompts * point.k
    config = online.Online(
        policy=str(folder / "model"), reward_model=None, task=NoTask(), regularizers=[KL(coef=0.05)],
        missing_eos=KeepScore(), rewards=[{"name": "scaling:score", "weight": 1.0}], episodes_per_update=batch,
        samples_per_prompt=point.k, total_episodes=batch * (repeats + 1), epochs=1, temperature=1.0,
        max_completion_tokens=point.completion, probes=Probes(every=1), lr=1e-6, schedule=Constant(),
        optimizer=AdamW(), grad_clip=1.0,
    )  # fmt: skip
    policy = load_policy(folder / "model", torch.device("cpu"))
    reference, codec = policy.frozen_copy(), Codec(policy.tokenizer, "raw")
    worker = online.rollout_worker(config, policy, reference, None, codec)
    optimizer = Optimizer(policy.parameters(), config.optimizer, config.lr, config.schedule, repeats + 1)
    update, budget = online.policy_step(config, policy, reference, optimizer), TokenBudget(config.compute.budget)
    states, rng = online.initial_states(config), random.Random(0)
    cpu, clock, base = [], [], settle()
    for step in range(1, repeats + 2):
        ids = [[rng.randrange(2, VOCABULARY) for _ in range(point.prompt)] for _ in range(point.prompts)]
        prompts = [Prompt(PromptRecord(f"{step} {i}", ""), tokens) for i, tokens in enumerate(ids)]
        began = time.process_time(), time.perf_counter()
        online.make_step(config, worker, update, states, prompts, step, budget)
        cpu.append(time.process_time() - began[0])
        clock.append(time.perf_counter() - began[1])
    return Cost(statistics.median(cpu[1:]), statistics.median(clock[1:]), status("VmHWM") - base)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SWEEPS), help="comma-separated; with it no table is written")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--table", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    names = options.only.split(",")
    silence_transformers()
    costs = {}
    for point in dict.fromkeys(point for name in names for _, point in SWEEPS[name].points):
        # Forked, so that imports cost once: no thread of torch's has been started here yet.
        with multiprocessing.get_context("fork").Pool(1) as pool:
            costs[point] = pool.apply(measure, (point, options.repeats))
        print(point, costs[point], flush=True)
    text = page({name: SWEEPS[name] for name in names}, costs, cpu_seconds_of_children())
    if set(names) == set(SWEEPS):
        options.table.write_text(text, encoding="utf-8")
    print(text)
    return 0


ABOUT = """\
# What an online step costs, against its sizes

RLOO with KL in the reward, one epoch, `kl_prev` at every step; a GPT-NeoX with random weights and a vocabulary of
{vocabulary}, completions that run to their limit, fp32. Unless the table says otherwise, one thread and
{base}.
CPU s: processor time of a step, median; clock s: what the clock said, which others at work on the machine lengthen;
peak: memory above the loaded models, optimizer included. Exponent b: cost = a size^b by least squares on logarithms; at
the end: between the two largest sizes, where what is constant in a step counts least. Made by
`python bench/scaling.py` in {minutes:.0f} CPU-minutes.
Machine: {machine}.

"""


def page(sweeps: dict[str, Sweep], costs: dict[Point, Cost], seconds: float) -> str:
    """The tables as Markdown."""
    p = Point()
    base = f"{p.prompts} prompts of {p.prompt} tokens, {p.k} completions of {p.completion} tokens each, "
    base += f"hidden size {p.hidden}, {p.layers} layers"
    text = ABOUT.format(vocabulary=VOCABULARY, base=base, minutes=seconds / 60, machine=machine())
    overview = ["| size varied | exponent of CPU s | at the end | exponent of peak | at the end |", "|---" * 5 + "|"]
    tables = []
    for name, swept in sweeps.items():
        found = [(size, costs[point]) for size, point in swept.points]
        if name != "threads":
            overview.append(f"| {swept.about} | {' | '.join(fits(found))} |")
        tables += ["", f"## {swept.about[0].upper()}{swept.about[1:]}", ""]
        tables += [f"| {swept.size} | CPU s | clock s | peak MB |", "|---" * 4 + "|"]
        tables += [f"| {size:,} | {c.cpu_s:.3g} | {c.clock_s:.3g} | {c.peak_mb:.0f} |" for size, c in found]
    return text + "\n".join(overview + tables) + "\n"


def fits(found: Sequence[tuple[float, Cost]]) -> list[str]:
    """Exponents of processor time and peak: of all points, of the last two."""
    sizes = [size for size, _ in found]
    columns = [cost.cpu_s for _, cost in found], [cost.peak_mb for _, cost in found]
    return [f"{exponent(sizes[i:], column[i:]):.2f}" for column in columns for i in (0, len(sizes) - 2)]


if __name__ == "__main__":
    sys.exit(main())

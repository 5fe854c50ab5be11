"""What a stage will take, before anything runs: parameters, tokens, FLOPs, memory by part, hours and cost.

Counts come from the configuration, the model's shape and the task's own texts. Hours on this machine come from a
measured piece of a step: a model of the same shape with random weights makes each kind of pass once. Hours on a named
GPU come from its data sheet, at the share of the peak that training usually reaches.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from overopt.engine.devices import Device, device_named
from overopt.engine.head import hidden_states, logps_of_trees, target_logps
from overopt.engine.packing import Tree, micro_batches, pack
from overopt.engine.sampler import DrawKey, sample
from overopt.errors import UserError
from overopt.models.load import Scratch, folder_config, load_tokenizer, model_folder, outline, random_policy
from overopt.models.policy import Policy
from overopt.models.text import Codec, word_tokenizer
from overopt.records import load_run
from overopt.training.online import Online
from overopt.training.reward_model import RewardModelStage
from overopt.training.sft import SFT
from overopt.types import Completion, Dropped

UTILIZATION = 0.35
"""Share of a GPU's peak that the passes of training reach; 30 to 50 percent is usual for dense transformers."""
SAMPLE_PROMPTS, SAMPLE_TOKENS, MEASURED_TOKENS = 64, 12, 4096
WORDS_ACTIVE = 20
"""Numbers of the hidden size's width that a layer keeps for the backward pass, per token; fitted to measured peaks."""
RUNTIME_MB = 20
"""What the first step takes for good, whatever its size: code, and the allocator's margins."""


@dataclass(frozen=True)
class Shape:
    """A causal model, by what its cost depends on."""

    parameters: int
    linear: int
    """Parameters of the body's linear maps: each token is multiplied with all of them."""
    hidden: int
    layers: int
    vocabulary: int
    key_width: int
    """Numbers that a layer stores of a token, keys and values together."""

    @classmethod
    def of(cls, config: Any) -> Shape:
        """From a Hugging Face configuration; the model is laid out without memory."""
        model = outline(config)
        hidden, layers = config.hidden_size, config.num_hidden_layers
        heads = config.num_attention_heads
        size = getattr(config, "head_dim", None) or hidden // heads
        embedded = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
        body = model.base_model.parameters()
        linear = sum(p.numel() for p in body if p.dim() == 2 and id(p) not in embedded)
        total = sum(p.numel() for p in model.parameters())
        shared = getattr(config, "num_key_value_heads", None) or heads
        return cls(total, linear, hidden, layers, config.vocab_size, 2 * shared * size)


@dataclass(frozen=True)
class Work:
    """One step: P trees of a prompt and G completions of mean lengths, and the passes made over them."""

    steps: int
    prompts: int
    group: int
    prompt_tokens: float
    completion_tokens: float
    forwards: float
    """Passes without gradient: reference, reward model, probes."""
    updates: float
    """Passes with gradient."""
    sampled: bool
    models: int
    """Copies of the weights that are held: policy, reference, reward model."""

    @property
    def tree_tokens(self) -> float:
        return self.prompt_tokens + self.group * self.completion_tokens

    @property
    def tokens(self) -> float:
        return self.prompts * self.tree_tokens

    def forward_flops(self, shape: Shape) -> float:
        """Of one forward pass over the step's trees: linear maps, attention, and the head at the completions."""
        p, c, k = self.prompt_tokens, self.completion_tokens, self.group
        pairs = p * p / 2 + k * c * (p + c / 2)
        body = 2 * shape.linear * self.tree_tokens + 4 * shape.hidden * shape.layers * pairs
        return self.prompts * (body + 2 * shape.hidden * shape.vocabulary * k * c)

    def flops(self, shape: Shape) -> float:
        """Of a step: a forward pass, sampling too, is one; with its backward it is three."""
        return self.forward_flops(shape) * (self.forwards + 3 * self.updates + self.sampled)


@dataclass(frozen=True)
class Plan:
    """A stage's cost."""

    name: str
    stage: str
    shape: Shape
    work: Work
    seconds_per_step: float
    memory: dict[str, float]
    """Megabytes by part."""
    where: str
    seconds: dict[str, float] = field(default_factory=dict)
    """Of a step, by part."""

    @property
    def hours(self) -> float:
        return self.work.steps * self.seconds_per_step / 3600

    def row(self, price: float | None) -> dict[str, Any]:
        """What `--json` prints."""
        cost = {} if price is None else {"cost": self.hours * price}
        return {
            "name": self.name, "stage": self.stage, "parameters": self.shape.parameters, "steps": self.work.steps,
            "tokens": round(self.work.steps * self.work.tokens), "flops": self.work.steps * self.work.flops(self.shape),
            "seconds_per_step": self.seconds_per_step, "seconds": self.seconds, "hours": self.hours,
            "memory_mb": self.memory, "memory_mb_sum": sum(self.memory.values()), "where": self.where, **cost,
        }  # fmt: skip


def plan_stage(
    name: str, stage: Any, parent: Callable[[str], Any], device: Device | None, others: Mapping[str, Any] | None = None
) -> Plan:
    """The plan of one stage; `parent` gives the configuration of the model at a location, and its tokenizer."""
    config, tokenizer = _model(stage, parent)
    shape = Shape.of(config)
    work = work_of(stage, tokenizer, others)
    memory = memory_of(stage, shape, work)
    if device is None:
        seconds = measure(stage, config, tokenizer, work)
        return Plan(name, stage.stage, shape, work, sum(seconds.values()), memory, "this machine", seconds)
    seconds = on_device(stage, shape, work, device)
    return Plan(name, stage.stage, shape, work, sum(seconds.values()), memory, device.source, seconds)


def _model(stage: Any, parent: Callable[[str], Any]) -> tuple[Any, Any]:
    if not isinstance(stage, SFT):
        return parent(stage.policy)
    if isinstance(stage.model, Scratch):
        return scratch(stage.model, stage.task.vocabulary())
    return parent(stage.model.path)


def scratch(model: Scratch, vocabulary: Sequence[str] | None) -> tuple[Any, Any]:
    """Configuration and tokenizer of a model with random weights."""
    if model.tokenizer is not None:
        tokenizer = load_tokenizer(Path(model.tokenizer))
    elif vocabulary is not None:
        tokenizer = word_tokenizer(vocabulary)
    else:
        raise UserError("model.tokenizer: this task has no word list, so a model from scratch needs a tokenizer")
    return model.hf_config(tokenizer), tokenizer


def from_folder(location: str) -> tuple[Any, Any]:
    """Configuration and tokenizer of a run's last checkpoint or of a model folder."""
    path = model_folder(location)
    folder = load_run(path).checkpoint() if (path / "run.json").is_file() else path
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{path}: neither a run directory nor a Hugging Face model folder; make it first, or plan it too"
        )
    return folder_config(folder), load_tokenizer(folder)


def work_of(stage: Any, tokenizer: Any, others: Mapping[str, Any] | None = None) -> Work:
    """A stage's step in numbers. Completions that are yet to be sampled are taken at their limit."""
    codec, dropped = Codec(tokenizer, stage.task.prompt_style), Dropped()
    if isinstance(stage, Online):
        prompts = list(itertools.islice(stage.task.prompts(stage.seed, dropped), SAMPLE_PROMPTS))
        scored = stage.reward_model is not None
        forwards = 1 + scored + (1 if stage.probes.due(2, True) else 0.25)
        models = 2 + scored
        return Work(
            stage.steps, stage.prompts_per_update, stage.samples_per_prompt,
            _mean([len(codec.prompt(p)) for p in prompts], stage.max_prompt_tokens), stage.max_completion_tokens,
            forwards, stage.epochs, True, models,
        )  # fmt: skip
    records = list(itertools.islice(stage.task.demonstrations(stage.seed, dropped), SAMPLE_PROMPTS))
    prompt = _mean([len(codec.prompt(r)) for r in records], stage.max_prompt_tokens)
    texts = [r.reference for r in records if r.reference is not None]
    completion = _mean([len(codec.completion(Completion(t))) for t in texts], stage.max_completion_tokens)
    if isinstance(stage, SFT):
        steps = stage.steps or len(list(stage.task.demonstrations(stage.seed, dropped))) // stage.batch_size
        return Work(steps, stage.batch_size, 1, prompt, completion, 0, 1, False, 1)
    count = _pair_count(stage, others or {})
    if isinstance(stage, RewardModelStage):
        steps = max(1, stage.epochs * (count // stage.batch_size))
        return Work(steps, stage.batch_size, 2, prompt, completion, 0, 1, False, 2)
    compared = stage.reference is not None or "reference" in stage.loss.needs
    steps = stage.steps or max(1, stage.epochs * (count // stage.batch_size))
    updates = 1 if stage.loss.separable else 4 / 3
    return Work(steps, stage.batch_size, 2, prompt, completion, compared, updates, False, 2)


def _mean(lengths: list[int], limit: int) -> float:
    return mean(min(n, limit) for n in lengths) if lengths else float(limit)


def _pair_count(stage: Any, others: Mapping[str, Any]) -> int:
    """Pairs or rankings to train on: sampled, those of another run, or the task's own."""
    pairs = stage.pairs
    if hasattr(pairs, "path"):
        path = Path(pairs.path)
        if (path / "run.json").is_file():
            return len(list(load_run(path).pairs()))
        if path.name in others:
            return _pair_count(others[path.name], others)
        raise UserError(f"pairs.path: {path} is no run; make it first, or plan it too")
    return int(pairs.count) if hasattr(pairs, "count") else len(list(stage.task.preferences(stage.seed, Dropped())))


def memory_of(stage: Any, shape: Shape, work: Work) -> dict[str, float]:
    """Peak memory by part, MB, in fp32 weights: a micro-batch is what its token budget and the step hold."""
    size = 2 if stage.compute.bf16 else 4
    tokens = min(max(stage.compute.token_budget, work.tree_tokens), work.tokens)
    targets = tokens * work.group * work.completion_tokens / work.tree_tokens
    kept = WORDS_ACTIVE * shape.hidden * shape.layers * size
    if stage.compute.gradient_checkpointing == "layers":
        kept = shape.hidden * (shape.layers + WORDS_ACTIVE) * size
    rows = min(targets, (1 << 26) / shape.vocabulary)
    store = work.sampled * shape.layers * shape.key_width * work.tokens * size
    adam = 8 if type(stage.optimizer).__name__ == "AdamW" else 4
    parts = {
        "weights": 4 * shape.parameters * work.models,
        "gradients": 4 * shape.parameters,
        "optimizer": adam * shape.parameters,
        "activations": max(tokens * kept + rows * shape.vocabulary * 4, store),
    }
    return {name: value / 2**20 for name, value in parts.items()} | {"runtime": RUNTIME_MB}


def on_device(stage: Any, shape: Shape, work: Work, device: Device) -> dict[str, float]:
    """Seconds of a step on a GPU: passes by its arithmetic, decoding by reading the weights once a token."""
    passes = work.forward_flops(shape) * (work.forwards + 3 * work.updates) / device.rate(stage.compute.bf16)
    decoding = work.completion_tokens * 4 * shape.parameters / (1e9 * device.bandwidth)
    prefill = work.forward_flops(shape) / device.rate(stage.compute.bf16)
    return {"passes": passes / UTILIZATION, "sampling": work.sampled * (decoding + prefill) / UTILIZATION}


def measure(stage: Any, config: Any, tokenizer: Any, work: Work) -> dict[str, float]:
    """Seconds of a step here, by part: each kind of pass is made once by a model of the shape with random weights."""
    device = stage.compute.resolve()
    torch.manual_seed(0)
    policy = random_policy(config, tokenizer, device, stage.compute.bf16)
    prompts = max(1, min(work.prompts, round(MEASURED_TOKENS / work.tree_tokens)))
    trees = _random_trees(work, prompts, config.vocab_size)
    share, budget = work.prompts / prompts, stage.compute.token_budget

    def forward() -> None:
        logps_of_trees(policy, trees, 1.0, 4 * budget)

    def update() -> None:
        for batch in micro_batches(trees, budget):
            packed = pack([trees[i] for i in batch], policy.device)
            target_logps(policy, hidden_states(policy, packed), packed, 1.0).sum().backward()

    optimizer = stage.optimizer.build(list(policy.parameters()), 0.0)
    seconds = {"updates": share * work.updates * _seconds(update), "optimizer": _seconds(optimizer.step)}
    seconds["passes"] = share * work.forwards * _seconds(forward) if work.forwards else 0.0
    if work.sampled:
        seconds["sampling"] = _sampling(policy, work, config.vocab_size)
    return seconds


def _sampling(policy: Policy, work: Work, vocabulary: int) -> float:
    """Seconds to sample a step's completions to their limit, from the prompts and a few tokens of each."""
    policy.eos_id = -1  # nothing ends early
    trees = _random_trees(work, work.prompts, vocabulary)
    prompts, ids = [t.prompt for t in trees], [str(i) for i in range(len(trees))]
    limit = round(work.completion_tokens)
    few = min(limit, SAMPLE_TOKENS)

    def run(tokens: int) -> float:
        return _seconds(lambda: sample(policy, prompts, ids, work.group, 1.0, tokens, DrawKey(0, "plan", 0)))

    begin, some = run(1), run(few)
    return begin + (some - begin) * (limit - 1) / max(1, few - 1)


def _random_trees(work: Work, count: int, vocabulary: int) -> list[Tree]:
    generator = torch.Generator().manual_seed(0)

    def tokens(size: float) -> list[int]:
        return torch.randint(vocabulary, (max(1, round(size)),), generator=generator).tolist()

    return [
        Tree(tokens(work.prompt_tokens), [tokens(work.completion_tokens) for _ in range(work.group)])
        for _ in range(count)
    ]


def _seconds(work: Callable[[], Any]) -> float:
    """Of the second of two runs: the first warms up."""
    for _ in range(2):
        began = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        spent = time.perf_counter() - began
    return spent


def table(plans: Sequence[Plan], price: float | None) -> str:
    """Plans as text: a line each, then the sum."""
    lines = []
    for plan in plans:
        row = plan.row(price)
        parts = ", ".join(f"{name} {mb:,.0f}" for name, mb in plan.memory.items())
        times = ", ".join(f"{name} {s:.3g}" for name, s in plan.seconds.items() if s)
        lines += [
            f"{plan.name}: stage {plan.stage}, {row['parameters']:,} parameters, {row['steps']:,} steps,"
            f" {row['tokens']:,} tokens, {row['flops']:.3g} FLOPs",
            f"  memory {row['memory_mb_sum']:,.0f} MB: {parts}",
            f"  {plan.seconds_per_step:.3g} s a step ({times}); {_duration(plan.hours)}, {plan.where}"
            + (f", cost {row['cost']:.2f}" if price is not None else ""),
        ]
    if len(plans) > 1:
        hours = sum(plan.hours for plan in plans)
        cost = "" if price is None else f", cost {hours * price:.2f}"
        lines.append(f"sum: {len(plans)} stages, {_duration(hours)} one after another{cost}")
    lines.append("Training steps only: evaluations, and the sampling of pairs, come on top.")
    return "\n".join(lines)


def _duration(hours: float) -> str:
    return f"{hours:.2f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"


def plan_all(stages: Mapping[str, Any], device_name: str | None = None) -> list[Plan]:
    """Plans of stages that may be each other's parents, written `runs/NAME`; for this machine, or a GPU by name."""
    device = None if device_name is None else device_named(device_name)

    def parent(location: str) -> Any:
        name = Path(location).name
        if name in stages and not (Path(location) / "run.json").is_file():
            return _model(stages[name], parent)
        return from_folder(location)

    return [plan_stage(name, stage, parent, device, stages) for name, stage in stages.items()]

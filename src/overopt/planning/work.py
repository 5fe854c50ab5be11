"""The work of a stage in numbers: trees of a step, passes over them, evaluations, and what comes before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any, Literal

import torch

from overopt.models.load import meta_model
from overopt.models.text import Codec
from overopt.models.trainable import Full
from overopt.objectives.regularizers import EntropyLengthNormalized
from overopt.planning.answers import Answers
from overopt.planning.lengths import Context, Lengths, PairLengths, pairs_of, prompts_of, references_of, written_from
from overopt.training.loop import checkpoint_steps
from overopt.training.policy_step import needs
from overopt.training.samplers import Own
from overopt.training.stages.offline import HELDOUT_PAIRS, Offline
from overopt.training.stages.online import Online
from overopt.training.stages.reward_model import RewardModelStage
from overopt.training.stages.sft import SFT


@dataclass(frozen=True)
class Shape:
    """The numbers of a causal model on which its cost depends."""

    parameters: int
    linear: int
    """Parameters of the body's linear maps: each token is multiplied with all of them."""
    head: int
    """Parameters that only the head has; a reward model is without them."""
    hidden: int
    layers: int
    vocabulary: int
    key_width: int
    """Numbers that a layer stores of a token, keys and values together."""

    @classmethod
    def of(cls, config: Any) -> Shape:
        """From a Hugging Face configuration; the model is laid out without memory."""
        model = meta_model(config)
        hidden, layers = config.hidden_size, config.num_hidden_layers
        heads = config.num_attention_heads
        size = getattr(config, "head_dim", None) or hidden // heads
        embedded = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
        body = list(model.base_model.parameters())
        linear = sum(p.numel() for p in body if p.dim() == 2 and id(p) not in embedded)
        total = sum(p.numel() for p in model.parameters())
        head = total - sum(p.numel() for p in body)
        shared = getattr(config, "num_key_value_heads", None) or heads
        return cls(total, linear, head, hidden, layers, config.vocab_size, 2 * shared * size)


@dataclass(frozen=True)
class Trees:
    """`count` trees of a prompt and `group` completions each; `prompt` and `completion` are mean lengths in tokens."""

    count: int
    group: int
    prompt: float
    completion: float
    targets: Literal["completions", "all", "none"] = "completions"
    """The tokens that the head sees: all: the prompt's, too; none: a reward model's pass."""
    longest: tuple[int, int] = (0, 0)
    """Longest prompt and longest completion, for sampling."""

    @property
    def tree_tokens(self) -> float:
        return self.prompt + self.group * self.completion

    @property
    def tokens(self) -> float:
        return self.count * self.tree_tokens

    @property
    def target_tokens(self) -> float:
        """Tokens of all trees whose logits are computed."""
        shares = {"completions": self.group * self.completion, "all": self.tree_tokens, "none": 0.0}
        return self.count * shares[self.targets]

    def flops(self, shape: Shape) -> float:
        """FLOPs of one forward pass: linear maps, attention, and the head at the targets."""
        p, c, k = self.prompt, self.completion, self.group
        pairs = p * p / 2 + k * c * (p + c / 2)
        body = 2 * shape.linear * self.tree_tokens + 4 * shape.hidden * shape.layers * pairs
        return self.count * body + 2 * shape.hidden * shape.vocabulary * self.target_tokens


@dataclass(frozen=True)
class Work:
    """The work of a stage: of a step, of an evaluation, and before the first step."""

    steps: int
    batch: Trees
    """The prompts and completions of a step."""
    policies: int
    """Policies that are held, the reference among them."""
    reward_models: int = 0
    trains_reward_model: bool = False
    updates: float = 1
    """Passes with gradient in a step."""
    backward: float = 2
    """Forward passes that a backward pass costs: for gradients of inputs and of weights, or of inputs alone."""
    optimizer_steps: int = 1
    passes: Sequence[tuple[float, Trees]] = ()
    """Passes without gradient in a step, by how many times."""
    samplings: Sequence[Trees] = ()
    """The completions that a step samples."""
    evaluations: int = 0
    answers: Trees | None = None
    """The completions that an evaluation samples greedily, and once more if there is a reference."""
    answered: int = 1
    evaluation_passes: Sequence[Trees] = ()
    """Passes without gradient of an evaluation."""
    pairs: Trees | None = None
    """Sampled before the first step."""
    first: Sequence[Trees] = ()
    """Passes without gradient before the first step, or after the last."""
    lengths: str = ""
    """The source of the lengths of completions, for the printed plan."""

    def flops(self, shape: Shape) -> float:
        """FLOPs of a step: of forward passes, of updates with their backward pass, and of sampling."""
        passes = sum(times * trees.flops(shape) for times, trees in self.passes)
        return (
            passes
            + (1 + self.backward) * self.updates * self.batch.flops(shape)
            + sum(t.flops(shape) for t in self.samplings)
        )


def work_of(stage: Any, tokenizer: Any, others: Mapping[str, Any] | None = None, ask: Answers | None = None) -> Work:
    """A stage's work. `others` are the stages that are planned with it, by name; `ask` what tasks have answered."""
    work = _work(stage, Context(Codec(tokenizer, stage.task.prompt_style), others or {}, ask or Answers()))
    if isinstance(stage.trainable, Full):
        return work
    shared = isinstance(stage, Online | Offline) and stage.reference is None  # the reference is the frozen policy
    return replace(work, backward=1, policies=work.policies - shared)


@singledispatch
def _work(stage: Any, context: Context) -> Work:
    raise TypeError(f"{type(stage).__name__} is no stage that can be planned")


@_work.register
def _(stage: SFT, context: Context) -> Work:
    records = context.ask(stage.task, "demonstrations", stage.seed)
    prompt = prompts_of(stage, context.codec, records.first)
    completion = references_of(stage, context.codec, records.referenced)
    batch = _trees(stage.batch_size, 1, prompt, completion)
    steps = stage.updates(round(completion.share * records.count))
    work = Work(
        steps, replace(batch, targets="all" if stage.loss_on_prompt else "completions"), policies=1,
        evaluations=len(checkpoint_steps(steps, stage.checkpoint_every)), lengths=completion.source,
    )  # fmt: skip
    return _evaluated(work, stage, context, completion, scored=False, compared=False)


@_work.register
def _(stage: Online, context: Context) -> Work:
    prompt = prompts_of(stage, context.codec, context.ask(stage.task, "prompts", stage.seed).first)
    completion = written_from(stage.policy, stage, context)
    batch = _trees(stage.prompts_per_update, stage.samples_per_prompt, prompt, completion)
    scored, scores = stage.reward_model is not None, replace(batch, targets="none")
    frozen = len(needs(stage.loss, stage.loss_regularizers) & {"old_logits", "ref_logits"})
    probes = 1 / stage.probes.interval(stage.task.cheap_to_measure)
    again = sum(isinstance(r, EntropyLengthNormalized) and r.temperature is not None for r in stage.regularizers)
    elsewhere = not isinstance(stage.sampler, Own)  # then the work of sampling is not this machine's
    asked_again = stage.compute.bf16 or elsewhere  # old log-probabilities
    passes = [(1.0 + asked_again + probes + again, batch), (float(scored + frozen), scores)]
    samplings = [batch]
    if "greedy" in stage.advantage.needs:
        greedy = replace(batch, group=1)
        passes, samplings = [*passes, (2.0, greedy), (float(scored), replace(greedy, targets="none"))], [batch, greedy]
    work = Work(
        stage.steps, batch, policies=2, reward_models=int(scored), updates=stage.epochs,
        optimizer_steps=stage.epochs * stage.minibatches, passes=passes, samplings=[] if elsewhere else samplings,
        evaluations=1 + len(checkpoint_steps(stage.steps, stage.checkpoint_every)), lengths=completion.source,
    )  # fmt: skip
    return _evaluated(work, stage, context, completion, scored, compared=True)


@_work.register
def _(stage: RewardModelStage, context: Context) -> Work:
    pairs = pairs_of(stage, context)
    batch = replace(_trees(stage.batch_size, pairs.group, pairs.prompt, pairs.completion), targets="none")
    steps = stage.updates(pairs.count)
    heldout, normalized = replace(batch, count=pairs.heldout), []
    if stage.normalization == "center":
        normalized = [replace(batch, count=context.ask(stage.task, "demonstrations", stage.seed).count, group=1)]
    elif stage.normalization == "standardize":
        normalized = [heldout]
    return Work(
        steps, batch, policies=1, reward_models=1, trains_reward_model=True,
        evaluations=1 + len(checkpoint_steps(steps, stage.checkpoint_every or steps)), evaluation_passes=[heldout],
        pairs=_sampled(batch, pairs), first=normalized, lengths=pairs.completion.source,
    )  # fmt: skip


@_work.register
def _(stage: Offline, context: Context) -> Work:
    pairs = pairs_of(stage, context)
    steps = stage.updates(pairs.count)
    views = 1 + len(stage.loss.prompts)
    group = pairs.group + ("mismatched" in stage.loss.needs)
    batch = _trees(stage.batch_size * views, group, pairs.prompt, pairs.completion)
    asked = stage.uses_reference
    at_each, once = asked and not stage.reference_is_fixed, asked and stage.reference_is_fixed
    used = replace(batch, count=min(steps * stage.batch_size, pairs.count) * views)
    heldout = replace(batch, count=min(pairs.heldout, HELDOUT_PAIRS) * views)
    work = Work(
        steps, batch, policies=2, reward_models=int(stage.reward_model is not None),
        passes=[(float(at_each + (not stage.loss.separable)), batch)], evaluation_passes=[heldout],
        evaluations=1 + len(checkpoint_steps(steps, stage.checkpoint_every)),
        first=[heldout] + [used] * once, lengths=pairs.completion.source, pairs=_sampled(batch, pairs),
    )  # fmt: skip
    answers = written_from(stage.policy, stage, context)
    work = _evaluated(work, stage, context, answers, stage.reward_model is not None, compared=True)
    return replace(work, lengths=f"{work.lengths}; answers {answers.source}")


def _sampled(batch: Trees, pairs: PairLengths) -> Trees | None:
    """The completions that are sampled for pairs before the first step; None if the pairs are read."""
    return replace(batch, count=pairs.count + pairs.heldout) if pairs.sampled else None


def _evaluated(work: Work, stage: Any, context: Context, completion: Lengths, scored: bool, compared: bool) -> Work:
    """The work with its evaluations: greedy answers, their scores, the distance to the reference, the references."""
    records = context.ask(stage.task, "evaluation", stage.seed)
    prompt = prompts_of(stage, context.codec, records.first)
    answers = _trees(round(prompt.share * records.count), 1, prompt, completion)
    passes = [*work.evaluation_passes]
    if scored:
        passes.append(replace(answers, targets="none"))
    if compared:
        passes += [answers] * (1 + stage.compute.bf16)
    if known := records.referenced:
        passes.append(_trees(len(known), 1, prompt, references_of(stage, context.codec, known)))
    return replace(work, answers=answers, answered=1 + compared, evaluation_passes=passes)


def _trees(count: int, group: int, prompt: Lengths, completion: Lengths) -> Trees:
    return Trees(count, group, prompt.mean, completion.mean, longest=(prompt.longest, completion.longest))

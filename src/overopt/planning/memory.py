"""The peak memory of a stage, by part.

An update runs on meta tensors, whose bytes are counted; sampling, whose length depends on the draws, is counted by a
formula.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from overopt.engine import onednn
from overopt.engine.footprint import peak_bytes
from overopt.engine.head import LOGITS_PER_CHUNK
from overopt.engine.packing import micro_batches, pack
from overopt.models.meta_policy import MetaPolicy
from overopt.models.policy import WORTH_PACKING
from overopt.models.trainable import Full
from overopt.planning.seconds import descend, prompts_at_a_time, random_trees
from overopt.planning.work import Shape, Trees, Work

RUNTIME_MB = 88
"""Megabytes that every stage takes, whatever its size: code, compiled kernels, the allocator's margins. Fitted to
`bench/plan.md`."""
BYTES_PER_LOGIT = 28
"""Bytes per row and vocabulary entry while tokens are drawn: logits, log-probabilities and probabilities, doubled, and
their sums."""
COUNTED_TOKENS = 1 << 11
"""Passes without gradient are counted on this many tokens, and scaled."""


def memory_of(stage: Any, config: Any, shape: Shape, work: Work, on_gpu: bool = False) -> dict[str, float]:
    """Peak memory by part, MB: weights, the optimizer's state, and what the largest of the passes takes.

    With `on_gpu`, models that `offload` keeps in the CPU's memory do not count, but for one of their layers.
    """
    outline = MetaPolicy(config, stage.max_prompt_tokens + stage.max_completion_tokens, stage.compute.bf16)
    if stage.compute.gradient_checkpointing == "layers":
        outline.checkpoint_layers()
    stage.trainable.prepare(outline, 0)
    added = sum(p.numel() for p in outline.parameters()) - shape.parameters
    trained = added or shape.parameters - work.trains_reward_model * shape.head
    if outline.bf16:
        outline.model.to(torch.bfloat16)  # of what was added, too: on meta tensors there is no autocast
    offloaded = on_gpu and stage.compute.offload == "frozen"
    weights = _trained_weights(shape, work, added, outline.bf16) + _frozen_weights(shape, work, outline.bf16, offloaded)
    state = getattr(stage.optimizer, "state_bytes", 8)
    parts = {"weights": weights, "optimizer": state * trained} | _largest(stage, outline, shape, work)
    return {name: value / 2**20 for name, value in parts.items()} | {"runtime": RUNTIME_MB}


def _trained_weights(shape: Shape, work: Work, added: int, bf16: bool) -> float:
    """Bytes of the model that is trained: in float32, unless it is frozen and only what was added is trained."""
    scores = work.trains_reward_model
    if not added:
        return 4 * (shape.parameters - scores * shape.head)
    return 4 * added + _halved(shape, scores, bf16)


def _frozen_weights(shape: Shape, work: Work, bf16: bool, offloaded: bool) -> float:
    """Bytes of the models beside the trained one."""
    policies = work.policies - (not work.trains_reward_model)
    scorers = work.reward_models - work.trains_reward_model
    whole = policies * _halved(shape, False, bf16) + scorers * _halved(shape, True, bf16)
    rest = not work.trains_reward_model  # the policy that a reward model was made of does not rest
    return whole / shape.layers if offloaded and rest and whole else whole


def loading_of(stage: Any, shape: Shape, work: Work) -> float:
    """MB that loading takes at most: each model comes in float32, before it is halved or put to rest."""
    bf16, whole = stage.compute.bf16, 4 * shape.parameters
    if isinstance(stage.trainable, Full) or work.policies + work.reward_models < 2:
        return whole / 2**20
    resting = stage.compute.offload == "frozen"
    others = 0.0 if resting else _frozen_weights(shape, work, bf16, False) - _halved(shape, True, bf16)
    return (_halved(shape, False, bf16) + others + whole) / 2**20


def _halved(shape: Shape, without_head: bool, bf16: bool) -> float:
    """Bytes of a frozen model: linear maps in bf16 under bf16, all else in float32."""
    head = 0 if without_head else shape.head
    return 4 * (shape.parameters - shape.head + head) - 2 * bf16 * (shape.linear + head)


def _largest(stage: Any, outline: MetaPolicy, shape: Shape, work: Work) -> dict[str, float]:
    """What the largest phase of a stage holds, by part."""
    budget = stage.compute.evaluation_budget
    update = _update(outline, shape, work, stage.compute.budget)
    passes = [trees for _, trees in work.passes] + [*work.evaluation_passes, *work.first]
    sampled = [*work.samplings, *(t for t in (work.answers, work.pairs) if t is not None)]
    phases = [
        update,
        {"passes without gradient": max((_pass(outline, shape, t, budget) for t in passes), default=0.0)},
        {"sampling": max((_sampling(outline, shape, t, budget) for t in sampled), default=0.0)},
    ]
    return max(phases, key=lambda parts: sum(parts.values()))


def _update(outline: MetaPolicy, shape: Shape, work: Work, budget: int) -> dict[str, float]:
    """The memory of an update, from its first two micro-batches: the second one finds the gradients of the first."""
    trees = random_trees(work.batch, shape.vocabulary)
    batches = list(itertools.islice(micro_batches(trees, budget), 2))

    def work_through() -> None:
        for members in batches:
            descend(outline, [trees[i] for i in members], work.batch)

    peak = peak_bytes(work_through)
    grads = [p.grad for p in outline.parameters() if p.grad is not None]
    outline.model.zero_grad(set_to_none=True)
    activations = max(0, peak - sum(grad.nbytes for grad in grads))
    return {"gradients": 4 * sum(grad.numel() for grad in grads), "activations": activations}


def _pass(outline: MetaPolicy, shape: Shape, trees: Trees, budget: int) -> float:
    """Bytes of a pass without gradient: of the body, or of hidden states and a chunk of logits, whichever is more."""
    most = min(trees.count, max(1, int(budget / trees.tree_tokens)))
    tokens = most * trees.tree_tokens
    rows = min(most * trees.target_tokens / max(1, trees.count), LOGITS_PER_CHUNK / shape.vocabulary)
    size = 2 if outline.bf16 else 4
    return max(tokens * _body(outline, trees), tokens * shape.hidden * size + rows * shape.vocabulary * 4)


def _body(outline: MetaPolicy, trees: Trees) -> float:
    """Bytes per token of a pass of the body without gradient."""
    counted = max(1, min(trees.count, int(COUNTED_TOKENS / trees.tree_tokens)))
    made = random_trees(replace(trees, count=counted), outline.vocabulary)
    with torch.no_grad():
        return peak_bytes(lambda: outline.hidden(pack(made, outline.device))) / sum(t.size for t in made)


def _sampling(outline: MetaPolicy, shape: Shape, trees: Trees, budget: int) -> float:
    """Bytes of sampling: keys and values, and the prompts' pass or the draws, whichever is more."""
    prompts = min(trees.count, prompts_at_a_time(trees, budget))
    rows, (prompt, limit) = prompts * trees.group, trees.longest
    size = 2 if outline.bf16 else 4
    places = prompt + (limit - 1) * trees.group
    store = prompts * places * (shape.layers * shape.key_width * size + 8 * trees.group)
    begin = prompts * trees.prompt * _body(outline, replace(trees, group=1, completion=1))
    return store + max(begin, BYTES_PER_LOGIT * rows * shape.vocabulary + _packed_weights(outline, limit))


def _packed_weights(outline: MetaPolicy, limit: int) -> int:
    """Bytes of the weights that oneDNN copies for decoding on a CPU."""
    if limit < WORTH_PACKING or outline.bf16:
        return 0
    linear = [m.weight for m in outline.model.modules() if isinstance(m, nn.Linear)]
    return sum(4 * w.numel() for w in linear if w.numel() >= onednn.MIN_WEIGHTS)

"""Checks of a loaded model on a few tokens: is it causal, are its logits ours, which fast ways of computing are exact?

The rest of the program computes in its own way (trees of completions under one prompt, the head apart from the body,
decoding from a store of keys and values). A configuration says only in part whether that suits an architecture, so at
load the results are compared with the model's ordinary forward. What differs is refused, or computed the ordinary way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from overopt.engine.packing import Tree, pack
from overopt.engine.sampler import decoder
from overopt.errors import UserError, say
from overopt.models.body import Body
from overopt.models.caches import CacheKind
from overopt.models.flex import flex_agrees
from overopt.models.policy import Policy
from overopt.models.properties import check_positions, is_recurrent
from overopt.models.reward_model import RewardModel

LONGEST_PROBE = 512
"""Tokens of the longest probe. A window that is longer is believed, not probed."""
ROUNDING_TOLERANCE = 1e-4
"""The largest difference of float32 hidden states, relative to their root mean square, that counts as rounding."""
PROBE_LOGIT_STD = 20.0
"""Standard deviation of the logits in the probe of their scale and cap; those of fresh weights are too small to show
either."""


@contextmanager
def _in_float32(body: Body) -> Iterator[None]:
    """Compute in float32 meanwhile: the rounding of bf16 would hide a difference, or look like one.

    Weights that are held in bf16 cannot.
    """
    bf16, body.bf16 = body.bf16, body.halved
    try:
        yield
    finally:
        body.bf16 = bf16


@torch.no_grad()
def verify_policy(policy: Policy, name: str) -> None:
    """Check a policy and choose how it computes.

    UserError if weights are not finite, EOS has no embedding, it is not causal, or its logits are not its head's output
    with the scale and cap of its configuration.
    """
    check_finite(policy, name)
    check_end(policy, name)
    kind = policy.model.config.model_type
    try:
        with _in_float32(policy):
            gap, ahead = _logit_gap(policy), _future_gap(policy)
    except Exception as error:  # an unknown architecture may raise anything
        raise UserError(f"{name}: this {kind} model is not supported: {type(error).__name__}: {error}") from error
    if not ahead < ROUNDING_TOLERANCE:
        raise UserError(f"{name}: this {kind} model is not causal: what it says of a token depends on those after it")
    if not gap < 1e-3:
        raise UserError(
            f"{name}: this {kind} model is not supported: its log-probabilities differ by {gap:.2g} nats from what its "
            "head and configuration (scale and cap of logits) make"
        )
    choose_attention(policy)


@torch.no_grad()
def verify_reward_model(reward_model: RewardModel, name: str) -> None:
    """Check a reward model, a causal body with one linear map at the last token, and choose how it computes."""
    check_finite(reward_model, name)
    kind = reward_model.model.config.model_type
    padding = getattr(reward_model.model.config, "pad_token_id", None)  # transformers reads the last other token
    ids = [i for i in _probe(reward_model, 6) if i != padding]
    try:
        with _in_float32(reward_model):
            theirs = reward_model.model(input_ids=torch.tensor([ids], device=reward_model.device)).logits
            ours = reward_model.head(_hidden(reward_model, ids)[-1:])
            ahead = _future_gap(reward_model)
    except Exception as error:  # as above
        raise UserError(
            f"{name}: this {kind} reward model is not supported: {type(error).__name__}: {error}"
        ) from error
    if not ahead < ROUNDING_TOLERANCE:
        raise UserError(
            f"{name}: this {kind} reward model is not causal; overopt reads a score at the last token alone"
        )
    if not (theirs - ours).abs().max() < 1e-3 * (1 + ours.abs().max()):
        raise UserError(
            f"{name}: this {kind} reward model is not supported: its score is not its head's at the last token"
        )
    choose_attention(reward_model)


def check_finite(body: Body, name: str) -> None:
    """Raise UserError, with the tensor's name, if weights are NaN or infinite."""
    for tensor_name, parameter in body.model.named_parameters():
        if not torch.isfinite(parameter.sum()) and not torch.isfinite(parameter).all():  # a sum makes no second tensor
            bad = int((~torch.isfinite(parameter)).sum())
            raise UserError(
                f"{name}: its weights are damaged: {bad} of {parameter.numel()} values of {tensor_name} are NaN or "
                "infinite"
            )


def check_end(body: Body, name: str) -> None:
    """Raise UserError if the model has no embedding for the tokenizer's EOS."""
    eos = body.tokenizer.eos_token_id
    if eos >= body.known_tokens:
        raise UserError(
            f"{name}: its tokenizer's eos_token {body.tokenizer.eos_token!r} is token {eos}, and the model knows "
            f"{body.known_tokens} tokens of the tokenizer's {len(body.tokenizer)}: resize the model "
            "(resize_token_embeddings) and save it, or name an eos_token that it knows"
        )


@torch.no_grad()
def choose_attention(body: Body) -> None:
    """Use tree attention if a tree has the hidden states of its branches computed alone; else compute row by row.

    They differ where attention is more than causal softmax: a window, capped or biased scores, a recurrent state. For a
    policy decoding is compared too: a model that calls one layer's attention twice computes trees, but cannot decode
    from a `KeyValueStore`.
    """
    if body.tree_attention:
        try:
            with _in_float32(body):
                body.tree_attention = _tree_gap(body) < ROUNDING_TOLERANCE and (
                    not isinstance(body, Policy) or _decoding_gap(body) < ROUNDING_TOLERANCE
                )
        except Exception:
            body.tree_attention = False  # the architecture's own attention may not accept our mask
    if not body.tree_attention:
        use_row_forward(body)
    elif body.device.type == "cuda":
        body.flex_attention = flex_agrees(body)


def check_limits(body: Body, max_prompt_tokens: int, max_completion_tokens: int) -> None:
    """Raise UserError if the limits exceed the model's positions; compute by rows if they exceed its window."""
    check_positions(body.model, max_prompt_tokens, max_completion_tokens, body.name)
    if body.tree_attention and body.window is not None and body.window < max_prompt_tokens + max_completion_tokens:
        use_row_forward(body)


@torch.no_grad()
def use_row_forward(body: Body) -> None:
    """From now on compute each completion with its prompt in a row of its own, by the model's ordinary forward.

    Printed once for each architecture.
    """
    body.tree_attention = False
    if isinstance(body, Policy):
        body.cache = _cache_kind(body)
    kind = body.model.config.model_type
    if kind not in _said:
        _said.add(kind)
        say(
            f"this {kind} model's attention is its own (a window, capped or biased scores, a state), so each "
            "completion is computed with its prompt by the model's ordinary forward: right, but slower"
        )


_said: set[str] = set()


def _cache_kind(policy: Policy) -> CacheKind:
    """The fastest kind of cache that gives the hidden states of whole rows."""
    kinds: list[CacheKind] = ["equal"] if is_recurrent(policy.model) else ["padded", "equal"]
    for kind in kinds:
        policy.cache = kind
        try:
            with _in_float32(policy):
                if _decoding_gap(policy) < ROUNDING_TOLERANCE:
                    return kind
        except Exception:  # an architecture's own cache may lack what the sampler asks of it
            continue
    return "none"


def _decoding_gap(policy: Policy) -> float:
    """The largest difference between hidden states decoded token by token and those of whole rows."""
    prompts = (
        [_probe(policy, 5)]
        if not policy.tree_attention and not policy.pads_prompts
        else [_probe(policy, 5), _probe(policy, 3)]
    )
    rows = [prompt for prompt in prompts for _ in range(3)]
    state, gap = decoder(policy, prompts, 3, 4), 0.0
    for t in range(3):
        keep = list(range(1 if t < 2 else 0, len(rows)))  # twice the first row ends
        token = _probe(policy, t + len(rows))[t:]
        rows = [[*rows[i], token[i]] for i in keep]
        state.advance(torch.tensor(token, device=policy.device), torch.tensor(keep, device=policy.device), t)
        for row, ours in zip(rows, state.hidden.float(), strict=True):
            gap = max(gap, _distance(ours, _hidden(policy, row)[-1]))
    return gap


def _logit_gap(policy: Policy) -> float:
    """The largest difference, in nats, of log-probabilities from the whole model's.

    Hidden states are scaled up first, until a scale or cap of the logits must show.
    """
    grown: list[Tensor] = []

    def grow(module: Any, inputs: Any, output: Any) -> None:
        if not grown:  # a decoder within the body comes first, where there is one
            hidden = output.last_hidden_state
            hidden.mul_(PROBE_LOGIT_STD / policy.head(hidden).std().clamp(min=1e-6))
            grown.append(hidden[0])

    emitters = {policy.model.base_model, policy.model.get_decoder()} - {policy.model}
    handles = [module.register_forward_hook(grow) for module in emitters]
    try:
        ids = torch.tensor([_probe(policy, 5)], device=policy.device)
        theirs = policy.model(input_ids=ids, use_cache=False).logits[0].float()
    finally:
        for handle in handles:
            handle.remove()
    if not grown:
        raise UserError("its head reads what is not the body's output")
    ours = policy.logit_map(policy.head(grown[0])).float()
    return float((ours.log_softmax(-1) - theirs.log_softmax(-1)).abs().max())


def _future_gap(body: Body) -> float:
    """The largest change of hidden states when only later tokens change: 0 for a causal model."""
    one, other = _probe(body, 6), [*_probe(body, 4), *_probe(body, 2)]
    before, after = (_hidden(body, ids)[:4] for ids in (one, other))
    return _distance(before, after)


def _tree_gap(body: Body) -> float:
    """The largest difference between the hidden states of a tree and those of its branches computed alone."""
    prompt = _probe(body, 5 if body.window is None else min(body.window + 4, LONGEST_PROBE))
    branches = [_probe(body, 3), _probe(body, 4)[1:]]
    tree = body.hidden(pack([Tree(prompt, branches)], body.device)).float()
    place, gap = len(prompt), 0.0
    for branch in branches:
        alone = _hidden(body, prompt + branch)
        read = [len(prompt) - 1, *range(place, place + len(branch))]  # others may be left out
        place += len(branch)
        gap = max(gap, _distance(tree[read], alone[len(prompt) - 1 :]))
    return gap


def _hidden(body: Body, ids: list[int]) -> Tensor:
    """Hidden states `[L, D]` of one row by the model's ordinary forward."""
    with body.autocast():
        out = body.model.base_model(input_ids=torch.tensor([ids], device=body.device), use_cache=False)
    hidden: Tensor = out.last_hidden_state[0]
    return hidden.float()


def _distance(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, relative to the root mean square of `theirs`; infinite if there is a NaN."""
    gap = float((ours - theirs).abs().max())
    if gap == 0:
        return 0.0  # whatever the scale: of weights that are all 0 as well
    gap /= float(theirs.square().mean().sqrt())
    return gap if gap == gap else float("inf")


def _probe(body: Body, size: int) -> list[int]:
    """Ids that are in any vocabulary."""
    words = min(body.known_tokens - 1, 10)
    return [1 + (3 * t) % words for t in range(size)]

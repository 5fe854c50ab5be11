"""Sampling: a prompt is computed once for all its samples, and finished samples are no longer computed.

The random number that decides token t of sample g of a prompt depends on (seed, purpose, step, prompt, g, t) alone. So
a completion does not depend on its batch, except by rounding, and training does not depend on evaluations in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b
from itertools import groupby

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from overopt.engine import native, ranks
from overopt.engine.attention import KeyValueStore
from overopt.engine.model import CausalModel
from overopt.engine.native_store import NativeKeyValueStore


@dataclass(frozen=True, slots=True)
class Samples:
    """G completions of each of P prompts, as rows `[B, T]` prompt by prompt, 0 after their end."""

    tokens_BT: Tensor
    mask_BT: Tensor
    logp_BT: Tensor
    """Log-probabilities at the sampling temperature (greedy: at temperature 1)."""
    entropy_BT: Tensor | None
    """Entropy in nats of the distribution from which each token was drawn, exact; None: sampled by another engine."""
    ended_B: Tensor
    """True if the completion ended in one of the model's end tokens."""

    def completions(self) -> list[list[int]]:
        """The ids of each row, with its end token."""
        return [row[:n].tolist() for row, n in zip(self.tokens_BT, self.mask_BT.sum(1).tolist(), strict=True)]


@dataclass(frozen=True, slots=True)
class DrawKey:
    """Identifies the random numbers of one sampling call, together with a prompt and a sample's index."""

    seed: int
    purpose: str
    step: int

    def number(self, prompt_id: str, sample: int) -> int:
        """The seed of one completion, of 128 bits."""
        text = f"{self.seed}/{self.purpose}/{self.step}/{prompt_id}/{sample}"
        return int.from_bytes(blake2b(text.encode(), digest_size=16).digest(), "little")

    def uniforms(self, prompt_id: str, sample: int, count: int) -> np.ndarray:
        return np.random.Generator(np.random.Philox(key=self.number(prompt_id, sample))).random(count)


@torch.no_grad()
def sample(
    model: CausalModel,
    prompts: Sequence[Sequence[int]],
    prompt_ids: Sequence[str],
    group_size: int,
    temperature: float,
    max_tokens: int,
    key: DrawKey,
) -> Samples:
    """Draw `group_size` completions of each prompt from softmax(logits/temperature); temperature 0 is greedy."""
    if not model.tree_attention and not model.pads_prompts and len(set(map(len, prompts))) > 1:
        rest = (group_size, temperature, max_tokens, key)

        def sample_at(same: Sequence[int]) -> Samples:
            return sample(model, [prompts[i] for i in same], [prompt_ids[i] for i in same], *rest)

        return _by_length(list(map(len, prompts)), group_size, sample_at)
    device = model.device
    end_E = torch.tensor(sorted(model.end_ids), dtype=torch.long, device=device)
    uniform_BT = torch.from_numpy(
        np.stack([key.uniforms(p, g, max_tokens) for p in prompt_ids for g in range(group_size)])
    ).to(device)
    state = decoder(model, prompts, group_size, max_tokens)  # before `decoding`: packed weights are for few rows
    rows = len(prompts) * group_size
    tokens_BT = torch.zeros(rows, max_tokens, dtype=torch.long, device=device)
    logp_BT = torch.zeros(rows, max_tokens, device=device)
    entropy_BT = torch.zeros(rows, max_tokens, device=device)
    mask_BT = torch.zeros(rows, max_tokens, dtype=torch.bool, device=device)
    ended_B = torch.zeros(rows, dtype=torch.bool, device=device)
    with model.decoding(max_tokens):
        for t in range(max_tokens):
            active = state.active
            token, logp, entropy = _draw(model.logits(state.hidden), temperature, uniform_BT[active, t])
            tokens_BT[active, t], logp_BT[active, t], entropy_BT[active, t] = token, logp, entropy
            mask_BT[active, t] = True
            finished = torch.isin(token, end_E)
            ended_B[active] = finished
            keep = (~finished).nonzero()[:, 0]
            if t == max_tokens - 1 or len(keep) == 0:
                break
            state.advance(token, keep, t)
    width = int(mask_BT.sum(1).max())
    return Samples(tokens_BT[:, :width], mask_BT[:, :width], logp_BT[:, :width], entropy_BT[:, :width], ended_B)


def sample_in_batches(
    model: CausalModel,
    prompts: Sequence[Sequence[int]],
    prompt_ids: Sequence[str],
    group_size: int,
    temperature: float,
    max_tokens: int,
    key: DrawKey,
    token_budget: int,
) -> Samples:
    """`sample` in batches whose keys and values are of about `token_budget` tokens."""
    size = max(1, token_budget // (max(map(len, prompts)) + max_tokens * group_size))
    prompts, prompt_ids = ranks.share(prompts), ranks.share(prompt_ids)
    parts = [
        sample(model, prompts[i : i + size], prompt_ids[i : i + size], group_size, temperature, max_tokens, key)
        for i in range(0, len(prompts), size)
    ]
    if ranks.several():
        parts = [_moved(part, model.device) for part in ranks.concatenated([_moved(part, "cpu") for part in parts])]
    return _joined(parts)


def _moved(samples: Samples, device: torch.device | str) -> Samples:
    return Samples(*(getattr(samples, field.name).to(device) for field in fields(Samples)))


def _by_length(lengths: list[int], group_size: int, sample_at: Callable[[Sequence[int]], Samples]) -> Samples:
    """Samples of prompts of these lengths, one batch for each length, for models that cannot take padding."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    whole = _joined([sample_at(list(same)) for _, same in groupby(order, key=lengths.__getitem__)])
    rows = torch.tensor([i * group_size + g for i in order for g in range(group_size)]).argsort()
    rows = rows.to(whole.tokens_BT.device)
    return Samples(*(getattr(whole, field.name)[rows] for field in fields(Samples)))


def _joined(parts: Sequence[Samples]) -> Samples:
    width = max(part.tokens_BT.shape[1] for part in parts)

    def joined(name: str) -> Tensor:
        tensors = [getattr(part, name) for part in parts]
        return torch.cat([F.pad(x, (0, width - x.shape[1])) if x.dim() > 1 else x for x in tensors])

    return Samples(*(joined(field.name) for field in fields(Samples)))


def decoder(
    model: CausalModel, prompts: Sequence[Sequence[int]], group_size: int, max_tokens: int
) -> _TreeDecoder | _PlainDecoder:
    """Run the prompts; returns the state from which `group_size` samples of each are decoded."""
    return (_TreeDecoder if model.tree_attention else _PlainDecoder)(model, prompts, group_size, max_tokens)


class _TreeDecoder:
    """Unfinished samples: `active` are their rows, `hidden` the states that predict their next tokens."""

    def __init__(self, model: CausalModel, prompts: Sequence[Sequence[int]], group_size: int, max_tokens: int) -> None:
        self.model = model
        lengths = torch.tensor([len(p) for p in prompts], device=model.device)
        kind = NativeKeyValueStore if native.available(model.device) else KeyValueStore
        self.store = kind(lengths.tolist(), group_size, max_tokens - 1, model.device)
        ids = torch.tensor([token for prompt in prompts for token in prompt], device=model.device)
        positions = torch.cat([torch.arange(len(p), device=model.device) for p in prompts])
        last = model.run(ids, positions, self.store, lengths.cumsum(0) - 1)
        self.hidden, self.positions = last.repeat_interleave(group_size, 0), lengths.repeat_interleave(group_size)
        self.active = torch.arange(len(self.hidden), device=model.device)

    def advance(self, token: Tensor, keep: Tensor, t: int) -> None:
        """Run the drawn tokens of the rows `keep`, the unfinished ones."""
        if len(keep) < len(token):
            self.active, self.positions, token = self.active[keep], self.positions[keep], token[keep]
            self.store.retire(keep)
        self.store.open()
        self.hidden = self.model.run(token, self.positions + t, self.store)


class _PlainDecoder:
    """The same from the model's own cache, for models without tree attention; prompts are padded on the left."""

    def __init__(self, model: CausalModel, prompts: Sequence[Sequence[int]], group_size: int, max_tokens: int) -> None:
        self.model = model
        longest = max(map(len, prompts))
        padding = torch.tensor([longest - len(p) for p in prompts], device=model.device)
        ids_PL = torch.tensor([[model.pad_id] * (longest - len(p)) + list(p) for p in prompts], device=model.device)
        place_L = torch.arange(longest, device=model.device)
        real_PL, positions_PL = place_L >= padding[:, None], (place_L - padding[:, None]).clamp(min=0)
        hidden, self.cache = model.extend(ids_PL, positions_PL, real_PL, None)
        last, self.real, self.positions = hidden[:, -1], real_PL, longest - padding
        if group_size > 1:
            self.cache.batch_repeat_interleave(group_size)
            parts = (last, self.real, self.positions)
            last, self.real, self.positions = (x.repeat_interleave(group_size, 0) for x in parts)
        self.hidden, self.active = last, torch.arange(len(last), device=model.device)

    def advance(self, token: Tensor, keep: Tensor, t: int) -> None:
        if len(keep) < len(token):
            self.cache.batch_select_indices(keep)
            self.active, self.real, self.positions = self.active[keep], self.real[keep], self.positions[keep]
            token = token[keep]
        self.real = F.pad(self.real, (0, 1), value=True)
        positions = (self.positions + t)[:, None]
        hidden, self.cache = self.model.extend(token[:, None], positions, self.real, self.cache)
        self.hidden = hidden[:, -1]


def _draw(logits: Tensor, temperature: float, uniform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One token for each row, its log-probability, and the entropy of its distribution."""
    logp_RV = (logits.float() / (temperature or 1.0)).log_softmax(-1)
    probability_RV = logp_RV.exp()
    token = choose(probability_RV, temperature, uniform)
    entropy = -(probability_RV * logp_RV.clamp(min=-1e9)).sum(-1)
    return token, logp_RV.gather(1, token[:, None])[:, 0], entropy


def choose(probability_RV: Tensor, temperature: float, uniform: Tensor) -> Tensor:
    """Each row's token by inversion of the cumulative distribution; the most probable one at temperature 0."""
    if temperature == 0:
        return probability_RV.argmax(-1)
    # In float64: a float32 sum over a large vocabulary would never reach rare tokens.
    cumulative_RV = probability_RV.double().cumsum(-1)
    target = uniform * cumulative_RV[:, -1]
    return torch.searchsorted(cumulative_RV, target[:, None], right=True)[:, 0].clamp(max=probability_RV.shape[1] - 1)

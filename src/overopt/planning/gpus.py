"""Which GPUs have the memory for a plan, with smaller micro-batches if need be."""

from __future__ import annotations

from collections.abc import Mapping

from overopt.engine.devices import DEVICES
from overopt.engine.memory import MIN_TOKEN_BUDGET

USABLE = 0.9
"""The share of a GPU's memory that a run can have; CUDA, error correction and fragments take the rest."""
FIXED = ("weights", "optimizer", "runtime")
"""Parts of a plan's memory that do not depend on the size of micro-batches; nor do gradients."""


def fitting_gpus(
    memory: Mapping[str, float], gradients: float, tokens: int, least: float, loading: float = 0.0
) -> dict[str, int]:
    """By GPU the tokens of a micro-batch that fit, at most `tokens`; 0 where not even `least` tokens do.

    `memory` are a plan's megabytes by part for micro-batches of `tokens`, of which `gradients` do not shrink with them;
    `least` are the tokens of one prompt with its completions, which are never divided. Loading takes `loading`.
    """
    fixed = sum(memory.get(name, 0.0) for name in FIXED) + gradients
    per_token = max(0.0, sum(memory.values()) - fixed) / max(1, tokens)
    rooms = {name: USABLE * 1024 * device.memory for name, device in DEVICES.items()}
    return {
        name: _tokens(room - fixed, per_token, tokens, least) if room >= loading else 0 for name, room in rooms.items()
    }


def _tokens(room: float, per_token: float, tokens: int, least: float) -> int:
    """The tokens that fit into so many megabytes: all, or a power of two, as a run that runs out of memory halves."""
    if room >= per_token * tokens:
        return tokens
    most = int(room / per_token) if room > 0 and per_token > 0 else 0
    smaller = 1 << most.bit_length() - 1 if most else 0
    return smaller if smaller >= max(MIN_TOKEN_BUDGET, min(least, tokens)) else 0


def in_words(fits: Mapping[str, int]) -> str:
    """`fits h200, h100; with micro-batches of 2,048 tokens a10, l4; not t4`."""
    names: dict[int, list[str]] = {}
    for name, tokens in fits.items():
        names.setdefault(tokens, []).append(name)
    too_small, whole = names.pop(0, []), max(names, default=0)
    groups = [
        ("fits " if tokens == whole else f"with micro-batches of {tokens:,} tokens ") + ", ".join(names[tokens])
        for tokens in sorted(names, reverse=True)
    ]
    if too_small:
        groups.append(("not " if groups else "fits none of ") + ", ".join(too_small))
    return "; ".join(groups)

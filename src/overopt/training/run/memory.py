"""Memory before a run begins: models that are too large for it are refused, and on a GPU the token budget fills it."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from overopt.engine.compute import Compute
from overopt.engine.head import LOGITS_PER_CHUNK
from overopt.engine.memory import TokenBudget, fitting_tokens
from overopt.errors import UserError
from overopt.models.body import Body
from overopt.models.meta_policy import bytes_per_token

GRADIENT_AND_MOMENTS = 12
"""Bytes a parameter that the first update will take: a gradient, and the optimizer's two moments."""


LIMIT, USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
"""What a container may use, and uses, on Linux."""


def check_room(what: str, weights: int, bytes_each: float, device: torch.device) -> None:
    """Raise UserError if a model of so many weights cannot fit, before it is loaded.

    `bytes_each` is the least that the run needs for each weight: 4 to load it; gradient and moments if all are trained.
    """
    needed, free = weights * bytes_each, free_bytes(device)
    if free is None or needed <= free:
        return
    place = "the GPU" if device.type == "cuda" else "this machine"
    trained = bytes_each > 4
    why = "to train all of them takes, with gradients and the optimizer's state, at least" if trained else "it takes"
    remedy = "use trainable: lora, or a smaller model" if trained else "use a smaller model"
    raise UserError(
        f"{what}: has {weights / 1e9:.3g} billion weights; {why} {needed / 2**30:,.1f} GiB, and {place} has "
        f"{free / 2**30:,.1f} GiB free; {remedy} (`overopt plan` tells what a run needs)"
    )


def free_bytes(device: torch.device) -> int | None:
    """The free memory of a device; None if it is not known."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free
    try:
        told = dict(line.split(":") for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
        free = int(told["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):  # not Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    try:
        return min(free, int(LIMIT.read_text(encoding="ascii")) - int(USED.read_text(encoding="ascii")))
    except (OSError, ValueError):  # no container, or one without a limit
        return free


def fit_budget(budget: TokenBudget, model: Body, compute: Compute, device: torch.device) -> None:
    """Set the budget to the tokens that a GPU's free memory holds, unless a budget was asked for or there is no GPU."""
    if device.type != "cuda" or compute.token_budget is not None:
        return
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    pending = trained * GRADIENT_AND_MOMENTS + 3 * 4 * LOGITS_PER_CHUNK
    per_token = bytes_per_token(model, compute.gradient_checkpointing == "layers")
    budget.change(fitting_tokens(free, pending, per_token))

"""The token budget that a run begins with: what was asked for or, on a GPU, what its free memory holds."""

from __future__ import annotations

import torch

from overopt.engine.compute import Compute
from overopt.engine.head import LOGITS_PER_CHUNK
from overopt.engine.memory import TokenBudget, fitting_tokens
from overopt.models.body import Body
from overopt.models.meta_policy import bytes_per_token

GRADIENT_AND_MOMENTS = 12
"""Bytes a parameter that the first update will take: a gradient, and the optimizer's two moments."""


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

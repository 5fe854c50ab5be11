"""How far two computations of one number in float32 may lie apart, whatever the processor's vectors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SAFETY = 4.0


def rounding(value: Tensor, terms: int) -> float:
    """Tolerance of the elements of a tensor that are sums of `terms` products each, in another order.

    Each of n roundings is off by at most eps/2 of the size at hand, and they add up like a random walk:
    SAFETY * eps * sqrt(n) * max|value|.
    """
    return SAFETY * torch.finfo(torch.float32).eps * math.sqrt(terms) * float(value.detach().abs().max())

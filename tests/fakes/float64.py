"""Tensors for statements that hold up to rounding in float64."""

import torch
from torch import Tensor


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)

"""The Plackett-Luce model of rankings: the best is chosen among all, the next among the rest, and so on."""

from __future__ import annotations

import torch
from torch import Tensor


def plackett_luce(score_PK: Tensor, margin: float = 0.0) -> Tensor:
    """Return -log probability of the ranking given by the column order, best first; `[P]`.

    -sum_k [s_k - log(e^{s_k} + sum_{j>k} e^{s_j + margin})]: with a margin, every completion must beat those below it
    by that much. K = 2 is -log sigma(s_1 - s_2 - margin). Adding a constant to a row changes nothing.
    """
    raised_PK = score_PK + margin
    below_PK = raised_PK.flip(1).logcumsumexp(1).flip(1)[:, 1:]
    own_PK = score_PK[:, :-1]
    return (torch.logaddexp(own_PK, below_PK) - own_PK).sum(1)

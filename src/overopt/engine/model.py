"""What the engine asks of a model. `models/` implements it for Hugging Face; tests may use anything that fits."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor


class BodyModel(Protocol):
    """The body of a transformer."""

    pad_id: int

    @property
    def device(self) -> torch.device: ...

    def hidden(self, ids_NL: Tensor, positions_NL: Tensor, mask_N1LL: Tensor) -> Tensor:
        """Hidden states after the final norm, `[N, L, D]`."""


class CausalModel(BodyModel, Protocol):
    """A body with a head over a vocabulary, and a cache to decode with."""

    eos_id: int

    @property
    def vocabulary(self) -> int: ...

    def logits(self, hidden_MD: Tensor) -> Tensor:
        """The head's output, `[M, V]`."""

    def extend(self, ids_NL: Tensor, positions_NL: Tensor, mask_N1LS: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Hidden states of tokens that follow a cache (None: nothing yet), and the longer cache.

        The cache offers `batch_repeat_interleave(times)` and `batch_select_indices(indices)`.
        """

"""What a policy and a reward model share: a Hugging Face body, its tokenizer, and the precision it computes in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def quiet() -> None:
    """transformers draws a bar for every file it reads or writes, and reports what our own messages say in short."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


class Body:
    """A transformer's body with its tokenizer. Dropout is off; with `bf16` it computes in bf16 on fp32 weights."""

    def __init__(self, model: Any, tokenizer: Any, head: nn.Linear, bf16: bool = False) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.head = head
        self.bf16 = bf16
        self.eos_id: int = tokenizer.eos_token_id
        self.pad_id: int = self.eos_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    @property
    def device(self) -> torch.device:
        return self.head.weight.device

    @property
    def window(self) -> int | None:
        """How far back attention sees, if less than everything: then longer trees would be computed wrongly."""
        config = self.model.config
        return getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def hidden(self, ids_NL: Tensor, positions_NL: Tensor, mask_N1LL: Tensor) -> Tensor:
        """Hidden states after the final norm, `[N, L, D]`."""
        with self.autocast():
            out = self.model.base_model(
                input_ids=ids_NL, position_ids=positions_NL, attention_mask=mask_N1LL, use_cache=False
            )
        return out.last_hidden_state

    def parameters(self) -> list[nn.Parameter]:
        return list(self.model.parameters())

    def freeze(self) -> None:
        """No gradient from here on."""
        self.model.requires_grad_(False)

    def save(self, folder: Path) -> None:
        """An ordinary Hugging Face folder, weights in safetensors."""
        quiet()
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

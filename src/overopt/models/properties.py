"""What a model's configuration says about its logits, its attention and how long a text may be."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from overopt.errors import UserError

MULTIPLIES = ("logit_scale", "lm_head_multiplier")
"""Fields of factors of the logits (Cohere, Falcon-H1)."""
DIVIDES = "logits_scaling"
"""The field of a divisor of the logits (Granite, MiniCPM3); HyperCLOVA X multiplies by it."""
CAPS = ("final_logit_softcapping", "logits_soft_cap")
"""Fields of a soft cap on the logits (Gemma, RecurrentGemma)."""
ATTENTION_CAP = "attn_logit_softcapping"
WINDOWS = ("sliding_window", "attention_chunk_size", "local_attention", "window_size", "attention_window_size")
"""Fields of how many tokens back some layer's attention reaches."""
TABLES = ("max_position_embeddings", "max_seq_len")
"""Fields of the size of a table of position embeddings, where there is one."""
CHANGING_ROPE = {"dynamic": "max_position_embeddings", "longrope": "original_max_position_embeddings"}
"""Kinds of rotary embedding whose angles change once a batch holds a text longer than this field says."""


@dataclass(frozen=True)
class LogitMap:
    """From a head's output z to logits: cap * tanh(scale * z / cap), or scale * z without a cap."""

    scale: float = 1.0
    cap: float | None = None

    def __call__(self, z: Tensor) -> Tensor:
        if self.scale != 1.0:
            z = z * self.scale
        return z if self.cap is None else (z / self.cap).tanh() * self.cap

    @classmethod
    def of(cls, config: Any) -> LogitMap:
        """The map that a model of this configuration applies."""
        scale = math.prod(float(value) for value in _given(config, *MULTIPLIES))
        for divisor in _given(config, DIVIDES):
            scale = scale * divisor if config.model_type == "hyperclovax" else scale / divisor
        return cls(scale, next(iter(_given(config, *CAPS)), None))


def attention_window(config: Any) -> int | None:
    """Tokens back that the shortest window of a layer reaches; None if all layers attend to everything."""
    if not getattr(config, "use_sliding_window", True):
        return None
    return min((size for size in _given(config, *WINDOWS) if isinstance(size, int)), default=None)


def is_recurrent(model: Any) -> bool:
    """Whether some layer carries a state from token to token, so that padding before a text would change it."""
    kinds = getattr(model.config, "layer_types", None) or []
    return bool(getattr(model, "_is_stateful", False)) or any(
        "attention" not in kind or kind.startswith("linear") for kind in kinds
    )


def has_custom_attention(model: Any) -> bool:
    """Whether the configuration says that attention is more than causal softmax, even if a probe shows nothing."""
    return is_recurrent(model) or _is_biased(model.config) or bool(_given(model.config, ATTENTION_CAP))


def _is_biased(config: Any) -> bool:
    """Whether attention scores are biased by distance (ALiBi)."""
    parts = [config, getattr(config, "attn_config", None)]
    return config.model_type == "bloom" or any(bool(getattr(part, "alibi", False)) for part in parts)


def position_table_size(model: Any) -> int | None:
    """Rows of the table of position embeddings; None without one (rotary or ALiBi positions, recurrent layers)."""
    config = model.config
    told = getattr(config, "rope_parameters", None) or getattr(config, "alibi", False) or config.model_type == "bloom"
    if told or is_recurrent(model):
        return None
    return min((size for size in _given(config, *TABLES) if isinstance(size, int)), default=None)


def check_positions(model: Any, max_prompt_tokens: int, max_completion_tokens: int, name: str) -> None:
    """Raise UserError if a text within the limits may exceed the model's positions, or change its rotary angles."""
    kind, longest = model.config.model_type, max_prompt_tokens + max_completion_tokens
    asked = f"max_prompt_tokens ({max_prompt_tokens}) + max_completion_tokens ({max_completion_tokens}) = {longest}"
    table = position_table_size(model)
    if table is not None and longest > table:
        raise UserError(
            f"{name}: {asked} tokens are more than the {table} positions that this {kind} model has; lower the limits"
        )
    for rope, switch in _changing_ropes(model.config):
        if longest > switch:
            raise UserError(
                f"{name}: {asked} tokens go beyond {switch}, from where the rotary embedding of this {kind} model "
                f"({rope}) depends on the length of the text, so that log-probabilities while sampling are not those "
                "of training; lower the limits"
            )


def max_positions(model: Any) -> int | None:
    """Tokens of the longest text that can be computed, and whose values no other text of a batch changes; None: any."""
    ends = [position_table_size(model), *(switch for _, switch in _changing_ropes(model.config))]
    return min((end for end in ends if end is not None), default=None)


def intended_length(model: Any) -> int | None:
    """Tokens of the longest text that the model was made for, as its configuration says; None if it does not say.

    A model with rotary positions computes longer texts, too, but was not trained on any.
    """
    ends = [max_positions(model), *_given(model.config, *TABLES)]
    return min((end for end in ends if isinstance(end, int)), default=None)


def _changing_ropes(config: Any) -> Iterator[tuple[str, int]]:
    parameters = getattr(config, "rope_parameters", None) or {}
    for one in [parameters, *(p for p in parameters.values() if isinstance(p, dict))]:
        field = CHANGING_ROPE.get(str(one.get("rope_type")))
        if field is not None:
            switch = one.get(field) or getattr(config, field, None) or config.max_position_embeddings
            yield one["rope_type"], switch


def _given(config: Any, *names: str) -> list[Any]:
    return [value for name in names if (value := getattr(config, name, None)) is not None]

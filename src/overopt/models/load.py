"""Where a model comes from: built from a configuration, a Hugging Face folder, or the last checkpoint of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field

from overopt.config import Choice, Location, block
from overopt.errors import UserError
from overopt.models.body import quiet
from overopt.models.policy import Policy
from overopt.models.reward_model import RewardModel
from overopt.models.text import word_tokenizer

Size = Annotated[int, Field(gt=0)]


@block
class Scratch:
    """A model with random weights; `architecture` is a Hugging Face model type (gpt_neox, llama, qwen2, ...)."""

    architecture: str = "gpt_neox"
    hidden_size: Size = 64
    layers: Size = 2
    heads: Size = 2
    init_std: Annotated[float, Field(gt=0)] = 0.056
    context: Size = 256
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the architecture's Hugging Face configuration."""

    def build(self, vocabulary: Sequence[str] | None, seed: int, device: torch.device, bf16: bool) -> Policy:
        """A policy over the task's word list."""
        if vocabulary is None:
            raise UserError("model: a model from scratch needs a task with a word list; use model: {name: pretrained}")
        tokenizer = word_tokenizer(vocabulary)
        torch.manual_seed(seed)
        return Policy(_from_config(self, len(vocabulary), tokenizer).to(device), tokenizer, bf16)


@block
class Pretrained:
    """A model from a local Hugging Face folder or the last checkpoint of a run."""

    path: Location


Model = Annotated[Scratch | Pretrained, Choice()]


def _from_config(settings: Scratch, vocabulary: int, tokenizer: Any) -> Any:
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig, AutoModelForCausalLM

    fields: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": settings.hidden_size,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": settings.heads,
        "intermediate_size": 4 * settings.hidden_size,
        "initializer_range": settings.init_std,
        "max_position_embeddings": settings.context,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.eos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    try:
        config = AutoConfig.for_model(settings.architecture, **(fields | settings.extra))
        return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    except (ValueError, KeyError, TypeError, StrictDataclassError) as error:
        raise UserError(f"model: cannot build a {settings.architecture!r} from these sizes: {error}") from error


def load_policy(folder: Path, device: torch.device, bf16: bool = False) -> Policy:
    """The causal model of a Hugging Face folder, in float32."""
    from transformers import AutoModelForCausalLM

    return Policy(*_load(folder, AutoModelForCausalLM, device), bf16)


def load_reward_model(folder: Path, device: torch.device, bf16: bool = False) -> RewardModel:
    """The one-label sequence classifier of a Hugging Face folder, frozen, in float32."""
    from transformers import AutoModelForSequenceClassification

    reward_model = RewardModel(*_load(folder, AutoModelForSequenceClassification, device), bf16)
    reward_model.freeze()
    return reward_model


def _load(folder: Path, auto_class: Any, device: torch.device) -> tuple[Any, Any]:
    from transformers import AutoTokenizer

    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: not a Hugging Face model folder (no config.json)")
    quiet()
    try:
        model, report = auto_class.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="sdpa", local_files_only=True, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: cannot be loaded as {auto_class.__name__}: {error}") from error
    if report["missing_keys"]:  # a head with random weights would train silently
        missing = ", ".join(sorted(report["missing_keys"])[:4])
        raise UserError(f"{folder}: has no weights for {missing}; is it a model of another kind?")
    return model.to(device), tokenizer

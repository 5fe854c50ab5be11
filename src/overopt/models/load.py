"""Where a model comes from: built from a configuration, a Hugging Face folder, or the last checkpoint of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field

from overopt.config import Choice, Location, block
from overopt.engine.head import completion_logps
from overopt.engine.packing import Tree, pack
from overopt.errors import UserError
from overopt.models.body import quiet
from overopt.models.gguf import dequantize
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
    tokenizer: Location | None = None
    """A Hugging Face folder with a tokenizer; null: the task's word list makes one."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the architecture's Hugging Face configuration."""

    def build(self, vocabulary: Sequence[str] | None, seed: int, device: torch.device, bf16: bool) -> Policy:
        """A policy over the tokenizer's vocabulary or the task's word list."""
        if self.tokenizer is not None:
            tokenizer = load_tokenizer(Path(self.tokenizer))
        elif vocabulary is not None:
            tokenizer = word_tokenizer(vocabulary)
        else:
            raise UserError("model.tokenizer: this task has no word list, so a model from scratch needs a tokenizer")
        torch.manual_seed(seed)
        policy = Policy(_from_config(self, len(tokenizer), tokenizer).to(device), tokenizer, bf16)
        check_trees(policy, "model")
        return policy


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
        return with_attention(lambda attention: AutoModelForCausalLM.from_config(config, attn_implementation=attention))
    except (ValueError, KeyError, TypeError, StrictDataclassError) as error:
        raise UserError(f"model: cannot build a {settings.architecture!r} from these sizes: {error}") from error


def load_policy(folder: Path, device: torch.device, bf16: bool = False) -> Policy:
    """The causal model of a Hugging Face folder, in float32."""
    from transformers import AutoModelForCausalLM

    policy = Policy(*_load(folder, AutoModelForCausalLM, device), bf16)
    check_trees(policy, str(folder))
    return policy


@torch.no_grad()
def check_trees(policy: Policy, name: str) -> None:
    """Refuse a model that a tree does not compute as its own forward does: scaled or capped logits, other attention."""
    prompt, branches = [1, 2, 3, 4, 5], [[6, 7, 8], [9, 8, 7]]
    shift = min(10, policy.vocabulary - 1)
    prompt, *branches = [[t * shift // 10 for t in ids] for ids in (prompt, *branches)]
    packed = pack([Tree(prompt, branches)], policy.pad_id, policy.device)
    ours = completion_logps(policy, packed, temperature=1.0)
    plain = []
    for branch in branches:
        ids = torch.tensor([prompt + branch], device=policy.device)
        with policy.autocast():
            logits = policy.model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
        plain.append(logits.float().log_softmax(-1).gather(1, ids[0, len(prompt) :, None])[:, 0])
    gap = float((ours - torch.stack(plain)).abs().max())
    if not gap < (0.1 if policy.bf16 else 1e-3):
        raise UserError(
            f"{name}: this {policy.model.config.model_type} model is not supported: computed as a tree its "
            f"log-probabilities differ by {gap:.2g} nats from its own forward (scaled logits, or unusual attention)"
        )


def load_reward_model(folder: Path, device: torch.device, bf16: bool = False) -> RewardModel:
    """The one-label sequence classifier of a Hugging Face folder, frozen, in float32."""
    from transformers import AutoModelForSequenceClassification

    model, tokenizer = _load(folder, AutoModelForSequenceClassification, device)
    if model.config.num_labels != 1:
        raise UserError(f"{folder}: a reward model has one label, this classifier has {model.config.num_labels}")
    reward_model = RewardModel(model, tokenizer, bf16)
    reward_model.freeze()
    return reward_model


def model_folder(location: str) -> Path:
    """The folder that a location names; a GGUF file is made into one beside it, once."""
    path = Path(location)
    return dequantize(path, path.with_suffix("")) if path.suffix == ".gguf" else path


def with_attention(make: Callable[[str], Any]) -> Any:
    """A model with torch's fused attention, or with the plain one where its architecture offers no other."""
    try:
        return make("sdpa")
    except ValueError as error:
        if "scaled_dot_product_attention" not in str(error):
            raise
        return make("eager")


def _load(folder: Path, auto_class: Any, device: torch.device) -> tuple[Any, Any]:
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: not a Hugging Face model folder (no config.json)")
    quiet()
    try:
        model, report = with_attention(
            lambda attention: auto_class.from_pretrained(
                folder,
                dtype=torch.float32,
                attn_implementation=attention,
                local_files_only=True,
                output_loading_info=True,
            )
        )
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: cannot be loaded as {auto_class.__name__}: {error}") from error
    if report["missing_keys"]:  # a head with random weights would train silently
        missing = ", ".join(sorted(report["missing_keys"])[:4])
        raise UserError(f"{folder}: has no weights for {missing}; is it a model of another kind?")
    return model.to(device), load_tokenizer(folder)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a Hugging Face folder; it must name an end-of-sequence token."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: its tokenizer cannot be loaded: {error}") from error
    if tokenizer.eos_token_id is None:
        raise UserError(f"{folder}: its tokenizer names no end-of-sequence token (eos_token), which completions need")
    return tokenizer

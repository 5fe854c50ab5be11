"""Where a model comes from: built from a configuration, a Hugging Face folder, or the last checkpoint of a run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field

from overopt.config import Choice, Location, block
from overopt.engine.packing import Tree, pack
from overopt.errors import UserError
from overopt.models.body import Body, quiet
from overopt.models.flex import flex_agrees
from overopt.models.gguf import dequantize
from overopt.models.policy import Policy
from overopt.models.reward_model import RewardModel
from overopt.models.text import word_tokenizer
from overopt.records import layout, load_run
from overopt.tasks.base import PromptStyle

Size = Annotated[int, Field(gt=0)]
LONGEST_PROBE = 512
"""Tokens of the longest prompt on which a model with a window is tried; a longer window is taken for one."""


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
        policy = Policy(_from_config(self, tokenizer).to(device), tokenizer, bf16)
        check_trees(policy, "model")
        return policy

    def hf_config(self, tokenizer: Any) -> Any:
        """The Hugging Face configuration."""
        return _hf_config(self, len(tokenizer), tokenizer)


@block
class Pretrained:
    """A model from a local Hugging Face folder or the last checkpoint of a run."""

    path: Location


Model = Annotated[Scratch | Pretrained, Choice()]


def _from_config(settings: Scratch, tokenizer: Any) -> Any:
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoModelForCausalLM

    try:
        config = settings.hf_config(tokenizer)
        return with_attention(lambda attention: AutoModelForCausalLM.from_config(config, attn_implementation=attention))
    except (ValueError, KeyError, TypeError, StrictDataclassError) as error:
        raise UserError(f"model: cannot build a {settings.architecture!r} from these sizes: {error}") from error


def _hf_config(settings: Scratch, vocabulary: int, tokenizer: Any) -> Any:
    from transformers import AutoConfig

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
    return AutoConfig.for_model(settings.architecture, **(fields | settings.extra))


def outline(config: Any) -> Any:
    """The causal model of a Hugging Face configuration, without memory for its weights."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def random_policy(config: Any, tokenizer: Any, device: torch.device, bf16: bool) -> Policy:
    """A policy of that shape with random weights, to measure on."""
    from transformers import AutoModelForCausalLM

    model = with_attention(lambda attention: AutoModelForCausalLM.from_config(config, attn_implementation=attention))
    return Policy(model.to(device), tokenizer, bf16)


def folder_config(folder: Path) -> Any:
    """The Hugging Face configuration of a model folder."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder, local_files_only=True)


def load_policy(folder: Path, device: torch.device, bf16: bool = False) -> Policy:
    """The causal model of a Hugging Face folder, in float32."""
    from transformers import AutoModelForCausalLM

    policy = Policy(*_load(folder, AutoModelForCausalLM, device), bf16)
    check_trees(policy, str(folder))
    return policy


@torch.no_grad()
def check_trees(policy: Policy, name: str) -> None:
    """Choose how the body computes, and refuse a model whose logits are more than its head makes: scaled, or capped."""
    settle_attention(policy)
    ids = torch.tensor([_probe(policy, 5)], device=policy.device)
    with policy.autocast():
        plain = policy.model(input_ids=ids, use_cache=False).logits[0].float()
        ours = policy.logits(policy.model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0]).float()
    gap = float((ours.log_softmax(-1) - plain.log_softmax(-1)).abs().max())
    if not gap < (0.1 if policy.bf16 else 1e-3):
        raise UserError(
            f"{name}: this {policy.model.config.model_type} model is not supported: its log-probabilities differ by "
            f"{gap:.2g} nats from its head's (scaled or capped logits, perhaps)"
        )


@torch.no_grad()
def settle_attention(body: Body) -> None:
    """Compare a tree with its branches computed alone; a body for which they differ goes row by row, and says so once.

    That is so where attention is more than causal softmax: a window, capped scores, a bias of one's own.
    """
    if body.trees:
        try:
            body.trees = _tree_gap(body) < (5e-2 if body.bf16 else 1e-4)
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
            body.trees = False  # attention of its own may trip over a mask that it does not know
    if not body.trees:
        say_plain(body)
    elif body.device.type == "cuda":
        body.flex = flex_agrees(body)


def say_plain(body: Body) -> None:
    """That a model goes row by row; once a process and kind of model."""
    kind = body.model.config.model_type
    if kind not in _said:
        _said.add(kind)
        print(
            f"overopt: this {kind} model's attention is its own (a window, capped or biased scores), so each completion"
            " is computed with its prompt by the model's ordinary forward: right, but slower",
            file=sys.stderr,
        )


_said: set[str] = set()


def _tree_gap(body: Body) -> float:
    """How far hidden states of a tree are from those of its branches, in their own root mean square."""
    prompt = _probe(body, 5 if body.window is None else min(body.window + 4, LONGEST_PROBE))
    branches = [_probe(body, 3), _probe(body, 4)[1:]]
    tree = body.hidden(pack([Tree(prompt, branches)], body.device)).float()
    place, gap = len(prompt), 0.0
    for branch in branches:
        ids = torch.tensor([prompt + branch], device=body.device)
        with body.autocast():
            alone = body.model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0].float()
        read = [len(prompt) - 1, *range(place, place + len(branch))]  # a body may leave out what nobody reads
        ours, alone = tree[read], alone[len(prompt) - 1 :]
        place += len(branch)
        gap = max(gap, float((ours - alone).abs().max() / alone.square().mean().sqrt()))
    return gap if gap == gap else float("inf")


def _probe(body: Body, size: int) -> list[int]:
    """Some tokens that any vocabulary has."""
    words = min(body.model.config.vocab_size - 1, 10)
    return [1 + (3 * t) % words for t in range(size)]


def load_reward_model(folder: Path, device: torch.device, bf16: bool = False) -> RewardModel:
    """The one-label sequence classifier of a Hugging Face folder, frozen, in float32."""
    from transformers import AutoModelForSequenceClassification

    model, tokenizer = _load(folder, AutoModelForSequenceClassification, device)
    if model.config.num_labels != 1:
        raise UserError(f"{folder}: a reward model has one label, this classifier has {model.config.num_labels}")
    reward_model = RewardModel(model, tokenizer, bf16)
    reward_model.prompt_style = reward_model.prompt_style or style_in_run(folder)
    reward_model.freeze()
    settle_attention(reward_model)
    return reward_model


def style_in_run(folder: Path) -> PromptStyle | None:
    """The prompt style that a run's record names for its checkpoints, which did not always say it themselves."""
    run = folder.parents[1] if len(folder.parents) > 1 else folder
    inside = folder.parent.name == layout.CHECKPOINTS and (run / layout.INFO).is_file()
    return load_run(run).info.get("prompt_style") if inside else None


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

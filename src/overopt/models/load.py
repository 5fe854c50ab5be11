"""Builds a model from a configuration, or loads it from a folder, the Hub, or a run's last checkpoint."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import torch
from pydantic import Field

from overopt.config import Choice, Location, block
from overopt.errors import UserError
from overopt.hub.models import What, model_snapshot
from overopt.hub.names import parse
from overopt.models.adapter import MODEL_CONFIG, AdapterFolder, adapter_folder
from overopt.models.body import silence_transformers, with_attention
from overopt.models.folder import check_folder, check_text_files, check_weights, read_json, reading
from overopt.models.gguf import dequantize
from overopt.models.policy import Policy
from overopt.models.reward_heads import SCORE, RewardHead, read_head, renaming
from overopt.models.reward_model import RewardModel
from overopt.models.text import word_tokenizer
from overopt.models.verify import verify_policy, verify_reward_model
from overopt.records import layout, load_run
from overopt.tasks.base import PromptStyle

TEXT_WEIGHTS = {
    r"^(?:model\.)?language_model\.lm_head\.": "lm_head.",
    r"^(?:model\.)?language_model\.(?:model\.)?": "model.",
}
"""Names of a text model's weights in the folder of a multimodal model, and their names in the text model."""
BUFFERS = re.compile(
    r"inv_freq$|masked_bias$|(attn|attention)\.bias$|causal_mask$|position_ids$|(cos|sin)_cached$|_scale$|_extra_state$"
)
"""Names of tensors in some folders that are not weights: rotary angles, masks, scales of a quantized cache."""
CLASSIFIER = "AutoModelForSequenceClassification"
NEWER = "; if a newer library wrote it: pip install --upgrade tokenizers transformers"
NO_TEXT = SimpleNamespace(eos_token_id=0, pad_token_id=0)
"""The part of a tokenizer that a model needs where no text is read."""
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
    """A folder or a name on the Hub with a tokenizer; null: a word tokenizer of the task's vocabulary."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the architecture's Hugging Face configuration."""

    def build(self, vocabulary: Sequence[str] | None, seed: int, device: torch.device, bf16: bool) -> Policy:
        """A new policy over the tokenizer's vocabulary or the task's words."""
        tokenizer = self.choose_tokenizer(vocabulary)
        torch.manual_seed(seed)
        policy = Policy(_from_config(self, tokenizer).to(device), tokenizer, bf16)
        verify_policy(policy, "model")
        return policy

    def choose_tokenizer(self, vocabulary: Sequence[str] | None) -> Any:
        """The tokenizer of the settings, or one of the task's words."""
        if self.tokenizer is not None:
            return load_tokenizer(model_folder(self.tokenizer, "tokenizer"))
        if vocabulary is None:
            raise UserError("model.tokenizer: this task has no word list, so a model from scratch needs a tokenizer")
        return word_tokenizer(vocabulary)

    def hf_config(self, tokenizer: Any) -> Any:
        """The Hugging Face configuration."""
        from transformers import AutoConfig

        fields: dict[str, Any] = {
            "vocab_size": len(tokenizer),
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": 4 * self.hidden_size,
            "initializer_range": self.init_std,
            "max_position_embeddings": self.context,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.eos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        }
        return AutoConfig.for_model(self.architecture, **(fields | self.extra))


@block
class Pretrained:
    """A model from a Hugging Face folder, the Hub, or the last checkpoint of a run."""

    path: Location


Model = Annotated[Scratch | Pretrained, Choice()]


def _from_config(settings: Scratch, tokenizer: Any) -> Any:
    from transformers import AutoModelForCausalLM

    try:
        config = settings.hf_config(tokenizer)
        return with_attention(AutoModelForCausalLM.from_config, config)
    except Exception as error:  # an architecture may raise anything
        raise UserError(f"model: cannot build a {settings.architecture!r} from these sizes: {error}") from error


def meta_model(config: Any) -> Any:
    """The causal model of a Hugging Face configuration on meta tensors, without memory for its weights."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    if getattr(model.config, "_experts_implementation", None):
        model.set_experts_implementation("batched_mm")  # others need data; it holds more than training
    return model


def random_policy(config: Any, device: torch.device, bf16: bool) -> Policy:
    """A policy of a Hugging Face configuration with random weights and no tokenizer, for measurements."""
    from transformers import AutoModelForCausalLM

    return Policy(with_attention(AutoModelForCausalLM.from_config, config).to(device), NO_TEXT, bf16)


def folder_config(folder: Path) -> Any:
    """The Hugging Face configuration of a model folder; of a multimodal model, that of its text model."""
    from transformers import CONFIG_MAPPING, AutoConfig

    adapter = adapter_folder(folder)
    if adapter is not None:
        return _adapted_config(adapter)
    fields = check_folder(folder)
    with reading(folder, "its config.json cannot be loaded"):
        if fields == read_json(folder / "config.json"):
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        else:  # a reward model's author wrapped it
            config = CONFIG_MAPPING[fields["model_type"]].from_dict(fields)
        text = config.get_text_config(decoder=True)
        text.name_or_path = str(folder)
    if config.is_encoder_decoder:
        raise UserError(
            f"{folder}: a {config.model_type} model has an encoder and a decoder; overopt trains causal models, whose "
            "completion continues the prompt"
        )
    return text


def _adapted_config(adapter: AdapterFolder) -> Any:
    """The configuration saved with an adapter, else its base's with as many labels as the adapter's head has rows."""
    if (saved := adapter.path / MODEL_CONFIG).is_file():
        with reading(adapter.path, f"its {MODEL_CONFIG} cannot be loaded"):
            from transformers import AutoConfig

            return AutoConfig.from_pretrained(saved, local_files_only=True, trust_remote_code=False)
    config = folder_config(base_folder(adapter))
    if rows := [shape[0] for name, shape in adapter.whole.items() if name == "score.weight"]:
        config.num_labels = rows[0]
    config.name_or_path = str(adapter.path)
    return config


def base_folder(adapter: AdapterFolder) -> Path:
    """The folder of the model that an adapter was trained on; UserError if there is none."""
    folder = model_folder(adapter.base)
    if not folder.is_dir():
        raise UserError(
            f"{adapter.path}: the model that this adapter belongs to, {adapter.base}, does not exist; put it there, or "
            "write where it is into base_model_name_or_path of adapter_config.json"
        )
    return folder


def adapters_of(folder: Path) -> tuple[list[AdapterFolder], Path]:
    """The adapter in a folder, the one that it was trained on, and so on; and the folder of the model below them."""
    adapters: list[AdapterFolder] = []
    while (adapter := adapter_folder(folder)) is not None:
        if any(adapter.path.resolve() == other.path.resolve() for other in adapters):
            raise UserError(f"{folder}: this adapter is, by its adapter_config.json, trained on itself")
        adapters.append(adapter)
        folder = base_folder(adapter)
    return adapters, folder


def load_policy(folder: Path, device: torch.device, bf16: bool = False) -> Policy:
    """The causal model of a Hugging Face folder, in float32."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM

    model, tokenizer = _load(folder, AutoModelForCausalLM, MODEL_FOR_CAUSAL_LM_MAPPING, device)
    if getattr(model.get_output_embeddings(), "weight", None) is None:
        raise UserError(f"{folder}: this {model.config.model_type} model has no head over a vocabulary")
    policy = Policy(model, tokenizer, bf16)
    verify_policy(policy, str(folder))
    return policy


def load_reward_model(folder: Path, device: torch.device, bf16: bool = False) -> RewardModel:
    """The reward model of a Hugging Face folder, frozen, in float32: a one-label classifier, or a head of its own."""
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoModelForSequenceClassification

    model, tokenizer = _load(
        folder, AutoModelForSequenceClassification, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, device
    )
    if model.config.num_labels != 1:
        raise UserError(f"{folder}: a reward model has one label, this classifier has {model.config.num_labels}")
    if not isinstance(getattr(model, "score", None), torch.nn.Linear):
        raise UserError(
            f"{folder}: a {model.config.model_type} classifier is no reward model of overopt, which reads the score at "
            "a causal model's last token (a linear map `score`); encoders (BERT, RoBERTa, DeBERTa) have none. Name a "
            "classifier of one label on a causal model (Llama, Qwen, Gemma, GPT-2, ...), train one by stage "
            "reward_model, or call this one from a function of your own: reward_model: null, rewards: [my_module:fn]"
        )
    reward_model = RewardModel(model, tokenizer, bf16)
    reward_model.prompt_style = reward_model.prompt_style or recorded_prompt_style(folder)
    verify_reward_model(reward_model, str(folder))
    reward_model.freeze()
    return reward_model


def recorded_prompt_style(folder: Path) -> PromptStyle | None:
    """The prompt style in the record of the run whose checkpoint this is, for checkpoints that do not store it."""
    run = folder.parents[1] if len(folder.parents) > 1 else folder
    inside = folder.parent.name == layout.CHECKPOINTS and (run / layout.INFO).is_file()
    return load_run(run).info.get("prompt_style") if inside else None


def model_folder(location: str, what: What = "all") -> Path:
    """The folder of the model, or of a part of it, at a location.

    A name on the Hub is fetched into the cache; a GGUF file is converted into a folder beside it, once.
    """
    name = parse(location)
    if name is not None:
        return model_snapshot(name, what)
    path = Path(location)
    return dequantize(path, path.with_suffix("")) if path.suffix == ".gguf" else path


def _load(folder: Path, auto_class: Any, known: Any, device: torch.device) -> tuple[Any, Any]:
    config = folder_config(folder)
    if type(config) not in known:
        raise UserError(f"{folder}: a {config.model_type} model is none of {auto_class.__name__}; use another model")
    check_text_files(folder)
    model = _weights(folder, config, auto_class)
    return model.to(device), load_tokenizer(folder)


def _weights(folder: Path, config: Any, auto_class: Any) -> Any:
    """The model of a folder: its own weights or, of an adapter's folder, its base's with the adapter added."""
    adapters, base = adapters_of(folder)
    model = _own_weights(base, config, auto_class, {name for adapter in adapters for name in adapter.whole})
    for adapter in reversed(adapters):
        adapter.add_to(model)
    model.config.name_or_path = str(folder)  # not the base: what is trained next is trained on both
    return model


def _own_weights(folder: Path, config: Any, auto_class: Any, brought: Collection[str]) -> Any:
    """The model of the weights in a folder; only those that adapters bring may be missing."""
    kind = check_folder(folder)["model_type"]
    check_weights(folder)
    silence_transformers()
    is_reward_model = auto_class.__name__ == CLASSIFIER and SCORE not in brought
    head, names = _own_head(folder, config) if is_reward_model else (RewardHead(), {})
    with reading(folder, f"its weights cannot be loaded as {auto_class.__name__}"):
        model, report = with_attention(
            auto_class.from_pretrained,
            folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # they are named below
            key_mapping=names or (None if config.model_type == kind else TEXT_WEIGHTS),
            output_loading_info=True,
        )
    if config.model_type != kind or names:
        # else saving would rename the weights back, by patterns that cannot be inverted
        model._weight_conversions = None
    _check_report(folder, model, report, brought, head)
    if is_reward_model:
        head.put_on(model, folder)
    return model


def _own_head(folder: Path, config: Any) -> tuple[RewardHead, dict[str, str]]:
    """The head of a reward model's folder, and how its body's weights are renamed.

    If the head is its author's own, the configuration becomes that of a classifier of one label.
    """
    from transformers import AutoModel

    head = read_head(folder)
    if head.weight is None:
        return head, {}
    config.num_labels, config.pad_token_id = 1, None  # trainers find the last token by their own padding
    with reading(folder, "its config.json fits no model"), torch.device("meta"):
        body = AutoModel.from_config(config)
    return head, renaming(folder, next(iter(body.state_dict())), body.base_model_prefix)


def _check_report(folder: Path, model: Any, report: Any, brought: Collection[str], head: RewardHead) -> None:
    """Raise UserError unless a folder's weights are the model's, but for those that come from elsewhere."""
    mismatched = [entry for entry in report["mismatched_keys"] if entry[0] not in head.fills]
    if mismatched:
        name, theirs, ours = min(mismatched)
        raise UserError(
            f"{folder}: its weights do not fit its config.json: {name} is {tuple(theirs)}, not {tuple(ours)}, and "
            f"{len(mismatched) - 1} more; one of them is of another model"
        )
    unexpected = set(map(str, report["unexpected_keys"])) - head.names
    if unread := _unread(model, unexpected):  # fewer layers would train as silently
        raise UserError(
            f"{folder}: its weights hold what its config.json leaves out, {unread[0]} and {len(unread) - 1} more, and "
            "without them it is another model; restore the config.json that belongs to them, or, if they are meant to "
            "be left out, load the folder where it came from and save it with save_pretrained"
        )
    lacking = set(map(str, report["missing_keys"])) - {*brought, *head.fills}
    if lacking:  # a head of random weights would train silently
        missing, besides = (", ".join(sorted(names)[:4]) for names in (lacking, unexpected))
        raise UserError(
            f"{folder}: has no weights for {missing}; is it a model of another kind?"
            + (f" It has others: {besides}" if besides else "")
        )


def _unread(model: Any, unexpected: Collection[str]) -> list[str]:
    """The unexpected weights that belong to a part which the model has: a layer beyond the last, a bias.

    The others belong to parts that it lacks and can do without: a value head, vision, multi-token prediction.
    """
    parts = {name for name, _ in model.named_modules()} - {"", model.base_model_prefix}

    def belongs(name: str) -> bool:
        steps = name.split(".")
        return any(".".join(steps[:count]) in parts for count in range(1, len(steps)))

    named = sorted(name for name in map(str, unexpected) if not BUFFERS.search(name))
    return [name for name in named if belongs(name) or belongs(f"{model.base_model_prefix}.{name}")]


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a Hugging Face folder; UserError if it has no EOS."""
    from transformers import AutoTokenizer

    if (adapter := adapter_folder(folder)) is not None and not (folder / "tokenizer_config.json").is_file():
        folder = base_folder(adapter)
    check_text_files(folder)
    with reading(folder, "its tokenizer cannot be loaded", NEWER):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        tokenizer.encode("a")
    if tokenizer.eos_token_id is None:
        raise UserError(f"{folder}: its tokenizer names no end-of-sequence token (eos_token), which completions need")
    return tokenizer

"""What a policy and a reward model share: a transformer's body, its tokenizer, and its precision."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from overopt.engine.attention import AttentionBackend, attention_carrier, carried_attention
from overopt.engine.attention_flex import FlexAttention
from overopt.engine.onednn import as_in_forward, onednn_linear_maps
from overopt.engine.packing import Packed
from overopt.errors import UserError
from overopt.models import neox
from overopt.models.adapter import Adapter
from overopt.models.properties import ATTENTION_CAP, attention_window, has_custom_attention
from overopt.models.text import end_ids

ATTENTION = "overopt"
"""The name under which transformers knows our attention function."""
MANY_ROWS = 256
"""Rows of a product from which on oneDNN is faster than torch's default."""


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear map: torch's, or GPT-2's, whose weight is transposed."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, nn.Linear | Conv1D)


def silence_transformers() -> None:
    """Turn off the progress bars and warnings of transformers; our own messages say what matters."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def with_attention(make: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
    """The model that `make` builds with torch's fused attention, or with plain attention if it supports no other."""
    try:
        return make(*arguments, attn_implementation="sdpa", **settings)
    except ValueError as error:
        if "scaled_dot_product_attention" not in str(error):
            raise
        return make(*arguments, attn_implementation="eager", **settings)


def enable_tree_attention(model: Any) -> bool:
    """Give a model our attention function if it uses torch's fused one; returns whether it now has ours."""
    if model.config._attn_implementation == ATTENTION:
        return True
    if getattr(model.config, ATTENTION_CAP, None):
        model.set_attn_implementation("eager")  # torch's fused attention silently ignores the cap
    if model.config._attn_implementation != "sdpa" or has_custom_attention(model):
        return False
    _register()
    model.set_attn_implementation(ATTENTION)
    return bool(model.config._attn_implementation == ATTENTION)


def _register() -> None:
    """Register an attention function that is `sdpa`, except where the mask carries an `AttentionBackend`."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import sdpa_mask

    def attention(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **settings: Any
    ) -> tuple[Tensor, None]:
        attend = carried_attention(attention_mask)
        if attend is None:
            return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
        layer: Any = getattr(module, "layer_idx", None)
        return attend.attend(layer, query, key, value, settings.get("scaling")), None

    AttentionInterface.register(ATTENTION, attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)


class Body:
    """A transformer's body with its head and tokenizer. No dropout; with `bf16` it computes in bf16 on fp32 weights."""

    peft_task: ClassVar[str]
    """The kind of model in an adapter's configuration."""
    head_is_halved: ClassVar[bool] = True
    """Whether the head computes under autocast, so that it may be held in bf16."""
    trained_whole: ClassVar[tuple[str, ...]] = ()
    """Modules that are trained whole where the rest is adapted."""

    def __init__(self, model: Any, tokenizer: Any, head: nn.Linear, bf16: bool = False) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.head = head
        self.bf16 = bf16
        self.end_ids = end_ids(model, tokenizer)
        """The tokens at which sampling stops; a codec adds its template's end of a turn."""
        pad, eos = tokenizer.pad_token_id, tokenizer.eos_token_id
        # Padding is masked, but must have an embedding.
        self.pad_id: int = eos if pad is None or pad >= self.known_tokens else pad
        self.tree_attention = enable_tree_attention(model)
        """Whether completions share the computation of their prompt; else each is a row of the ordinary forward."""
        self.flex_attention = False
        """Whether one compiled kernel computes the attention of all trees; chosen at load, on a GPU."""
        self.halved = False
        """Whether frozen linear maps are held in bf16."""
        self.resting: torch.device | None = None
        """The device on which a model computes whose weights are in the CPU's memory meanwhile; see `rest`."""
        self.adapter: Adapter | None = None
        """What is trained in place of the model's own weights, if not they."""

    @property
    def device(self) -> torch.device:
        return self.resting or self.head.weight.device

    @property
    def known_tokens(self) -> int:
        """How many ids have an embedding; may be fewer or more than the tokenizer has."""
        count: int = self.model.get_input_embeddings().weight.shape[0]
        return count

    @property
    def window(self) -> int | None:
        """Tokens back that attention reaches, None for all; tree attention is wrong for longer texts."""
        return attention_window(self.model.config)

    @property
    def name(self) -> str:
        """The folder it was loaded from, or its architecture, for messages."""
        return str(self.model.config.name_or_path or f"this {self.model.config.model_type} model")

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def linear_maps(self, rows: int) -> AbstractContextManager[None]:
        """A context in which linear maps are computed in the way that is fastest for so many rows."""
        return onednn_linear_maps(self.model.modules() if rows >= MANY_ROWS and not self.bf16 else [])

    def hidden(self, packed: Packed) -> Tensor:
        """Hidden states after the final norm of a packed batch, `[N, D]`; undefined at positions outside `read_R`."""
        if not self.tree_attention:
            return self._plain_hidden(packed)
        attend = FlexAttention(packed.attention) if self.flex_attention else packed.attention
        if not self._is_plain_neox():
            return self.run(packed.ids_N, packed.positions_N, attend)
        read = self.run(packed.ids_N, packed.positions_N, attend, packed.read_R)
        return read.new_zeros(len(packed.ids_N), read.shape[1]).index_copy(0, packed.read_R, read)

    def _is_plain_neox(self) -> bool:
        return not self.bf16 and neox.can_run(self.model.base_model)

    def run(self, ids_N: Tensor, positions_N: Tensor, attend: AttentionBackend, read_R: Tensor | None = None) -> Tensor:
        """Hidden states `[N, D]` of flat tokens whose attention `attend` computes, or `[R, D]` of `read_R` alone."""
        if self._is_plain_neox():
            with self.linear_maps(len(ids_N)):
                return neox.run(self.model.base_model, ids_N, positions_N, attend, read_R)
        with self.autocast(), self.linear_maps(len(ids_N)):
            out = self.model.base_model(
                input_ids=ids_N[None],
                position_ids=positions_N[None],
                attention_mask=attention_carrier(attend, ids_N.device),
                use_cache=False,
            )
        hidden: Tensor = out.last_hidden_state[0]
        return hidden if read_R is None else hidden[read_R]

    def _plain_hidden(self, packed: Packed) -> Tensor:
        """`hidden` by the ordinary forward: each completion with its prompt is a right-padded row."""
        rows: list[list[int]] = []
        place: list[tuple[int, int]] = []
        for tree in packed.trees:
            size = len(tree.prompt)
            for j, completion in enumerate(tree.completions or [[]]):
                if j == 0:
                    place += [(len(rows), t) for t in range(size)]
                place += [(len(rows), size + t) for t in range(len(completion))]
                rows.append([*tree.prompt, *completion])
        width = max(map(len, rows))
        ids = torch.tensor([row + [self.pad_id] * (width - len(row)) for row in rows], device=self.device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=self.device)
        with self.autocast():
            out = self.model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
        row_N, column_N = torch.tensor(place, device=self.device).T
        return out.last_hidden_state[row_N, column_N]

    def parameters(self) -> list[nn.Parameter]:
        return list(self.model.parameters())

    def checkpoint_layers(self) -> None:
        """From now on keep only each layer's input, and compute the layer again in the backward pass."""
        from transformers.modeling_layers import GradientCheckpointingLayer

        model = self.model  # newer versions of transformers warn of the old name
        enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
        enable({"use_reentrant": False, "context_fn": as_in_forward})
        for module in self.model.modules():
            if isinstance(module, GradientCheckpointingLayer):
                module.training = True  # of the layer alone: the modules in it stay without dropout

    def freeze(self) -> None:
        """Compute no gradients from now on."""
        self.model.requires_grad_(False)
        self.halve_frozen()

    def halve_frozen(self) -> None:
        """Under `bf16` hold the frozen linear maps in bf16.

        Autocast would round them for every product, so that no result changes. The rest stays in float32: embeddings,
        norms, and a head that shares its weights with the embeddings.
        """
        if not self.bf16:
            return
        shared = {id(p) for m in self.model.modules() if not is_linear(m) for p in m.parameters(recurse=False)}
        for module in self.model.modules():
            own = list(module.parameters(recurse=False))
            trained = any(p.requires_grad or id(p) in shared for p in own)
            if is_linear(module) and not trained and (module is not self.head or self.head_is_halved):
                module.to(torch.bfloat16)
        self.halved = True

    def rest(self) -> None:
        """From now on keep the weights in the CPU's memory; a layer's are on the device while it computes."""
        try:
            from accelerate import cpu_offload
        except ImportError as error:
            raise UserError("compute.offload needs the library accelerate: pip install accelerate") from error
        device = self.device
        cpu_offload(self.model, device)
        self.resting = device

    def save(self, folder: Path) -> None:
        """Write a Hugging Face folder with safetensors, of an adapter if it has one; generation stops at `end_ids`."""
        silence_transformers()
        self._save_model(folder)
        self.tokenizer.save_pretrained(folder)
        settings = folder / "generation_config.json"
        if settings.exists() and end_ids(self.model, self.tokenizer) != self.end_ids:
            # Edited as JSON: transformers refuses to save changed settings if other ones are inconsistent.
            changed = json.loads(settings.read_text(encoding="utf-8")) | {"eos_token_id": sorted(self.end_ids)}
            settings.write_text(json.dumps(changed, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def _save_model(self, folder: Path) -> None:
        """Write weights and configurations, even where transformers refuses to save generation settings it has read."""
        from transformers import GenerationConfig

        if self.adapter is not None:
            self.adapter.save(folder)
            if (settings := getattr(self.model, "generation_config", None)) is not None:  # a classifier has none
                _write_generation_settings(folder, settings)
            return
        try:
            self.model.save_pretrained(folder)
        except ValueError:
            settings, self.model.generation_config = self.model.generation_config, GenerationConfig()
            try:
                self.model.save_pretrained(folder)
            finally:
                self.model.generation_config = settings
            _write_generation_settings(folder, settings)


def _write_generation_settings(folder: Path, settings: Any) -> None:
    text = json.dumps(settings.to_diff_dict(), indent=2, sort_keys=True, default=str)
    (folder / "generation_config.json").write_text(text + "\n", encoding="utf-8")

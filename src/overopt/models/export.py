"""A model's weights under the names of a Hugging Face checkpoint, without a file."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def checkpoint_tensors(model: Any) -> dict[str, Tensor]:
    """Return what `save_pretrained` would write: name to tensor, in order; tied weights once. Nothing is copied.

    In memory some weights have other names than in a checkpoint (GPT-NeoX's head), or other shapes (experts).
    """
    from transformers.core_model_loading import revert_weight_conversion
    from transformers.modeling_utils import remove_tied_weights_from_state_dict

    ignored = set(getattr(model, "_keys_to_ignore_on_save", None) or ())
    state = {name: tensor.detach() for name, tensor in model.state_dict().items() if name not in ignored}
    state = remove_tied_weights_from_state_dict(state, model)
    return dict(revert_weight_conversion(model, state))

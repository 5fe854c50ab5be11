"""An adapter added to the weights it belongs to, written as an ordinary model folder."""

from __future__ import annotations

from pathlib import Path

import torch

from overopt.errors import UserError
from overopt.models.adapter import adapter_folder
from overopt.models.body import Body
from overopt.models.load import load_policy, load_reward_model, model_folder
from overopt.records import load_run
from overopt.records.atomic import whole_folder


def write_merged(location: str, out: Path) -> Path:
    """Write the whole model of a run with LoRA, or of an adapter's folder, to `out`, in float32; returns the adapter.

    UserError if `out` exists, or if there is no adapter.
    """
    if out.exists():
        raise UserError(f"{out}: exists already; name a folder that does not, nothing is written over")
    path = model_folder(location)
    folder = load_run(path).checkpoint() if (path / "run.json").is_file() else path
    adapter = adapter_folder(folder)
    if adapter is None:
        raise UserError(f"{folder}: holds no adapter (adapter_config.json); a whole model needs no merging")
    device = torch.device("cpu")
    scores = adapter.settings.get("task_type") == "SEQ_CLS"
    model: Body = load_reward_model(folder, device) if scores else load_policy(folder, device)
    with whole_folder(out) as partial:
        model.save(partial)
    return folder

"""Converts a model folder with pickled weights into one with safetensors, tensor for tensor."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from overopt.errors import UserError
from overopt.models.folder import read_json
from overopt.models.gguf import dequantize
from overopt.models.load import meta_model
from overopt.models.pickles import INDEX, STEMS, pickled_files, read_pickle
from overopt.records.atomic import whole_folder
from overopt.records.hashing import READ, hash_file

MADE_FROM = "converted.json"
"""The file in a converted folder that says what it was made from."""
COPIED = (READ | {".md"}) - {".bin", ".safetensors", ".gguf", ".py"}
"""Suffixes of the files that go with the weights: configurations, tokenizer, templates, the model's card."""


@dataclass(frozen=True)
class Converted:
    """What a conversion wrote."""

    folder: Path
    files: int
    tensors: int
    size: int
    tied: dict[str, str]
    """Names that were left out, each with the name whose weights are tied to it."""

    def __str__(self) -> str:
        tied = "".join(f"; {name} is tied to {kept}" for name, kept in self.tied.items())
        return f"{self.folder}: {self.tensors} tensors, {self.size / 1e9:.2f} GB in {self.files} files{tied}"


def convert(source: Path, out: Path, name: str = "") -> Converted | None:
    """Write the model of the folder `source`, or of a GGUF file, to the new folder `out` with safetensors weights.

    Every tensor keeps its name, dtype and bits; of tied weights one name is kept, as transformers saves them. `name`
    is that of a `source` from the Hub. None if `out` was made from the same files before. UserError for a
    folder without pickled weights, a pickle that asks for more than tensors, and an `out` that holds something else.
    """
    if source.suffix == ".gguf":
        dequantize(source, out)
        return None
    pickles = _pickles(source)
    made_from = {"source": name or source.name, "files": {file.name: hash_file(file) for file in pickles}}
    if _is_made_from(out, made_from):
        return None
    _check_space(out, pickles)
    with whole_folder(out) as folder:
        converted = _write(pickles, folder, tied_names(source))
        _copy_others(source, folder)
        (folder / MADE_FROM).write_text(json.dumps(made_from, indent=2) + "\n", encoding="utf-8")
    return Converted(out, *converted)


def _pickles(source: Path) -> list[Path]:
    if not (source / "config.json").is_file() and not (source / "adapter_config.json").is_file():
        raise UserError(f"{source}: not a Hugging Face model folder (no config.json)")
    if found := sorted(source.glob("*.safetensors")):
        raise UserError(f"{source}: has safetensors weights already ({found[0].name}); name this folder itself")
    pickles = pickled_files(source)
    if not pickles:
        there = ", ".join(sorted(file.name for file in source.iterdir())[:8])
        raise UserError(f"{source}: has no pickled weights ({', '.join(f'{stem}.bin' for stem in STEMS)}) but {there}")
    return pickles


def _is_made_from(out: Path, made_from: Mapping[str, Any]) -> bool:
    """Whether `out` is complete; UserError if it is something else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if (out / MADE_FROM).is_file() and read_json(out / MADE_FROM).get("files") == made_from["files"]:
        return True
    raise UserError(f"{out}: exists and was not made from these weights; choose another folder, or remove it")


def _check_space(out: Path, pickles: list[Path]) -> None:
    place = next(folder for folder in out.absolute().parents if folder.is_dir())
    needed, free = sum(file.stat().st_size for file in pickles), shutil.disk_usage(place).free
    if needed > free:
        raise UserError(f"{out}: needs {needed / 1e9:.1f} GB of disk, and {free / 1e9:.1f} GB are free")


def _write(pickles: list[Path], folder: Path, tied: Mapping[str, str]) -> tuple[int, int, int, dict[str, str]]:
    """Write one safetensors file for each pickle; returns how many files, tensors and bytes, and what was left out."""
    from safetensors.torch import save_file

    shards = [file for file in pickles if file.stem not in STEMS]
    names = {file: f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i, file in enumerate(shards)}
    left_out: dict[str, str] = {}
    weight_map: dict[str, str] = {}
    count = size = 0
    for file in pickles:
        target = folder / names.get(file, f"{STEMS.get(file.stem, file.stem)}.safetensors")
        tensors, dropped = _untied(read_pickle(file), tied)
        save_file(tensors, target, metadata={"format": "pt", **dropped})
        _check_same(tensors, target)
        left_out |= dropped
        count, size = count + len(tensors), size + sum(t.numel() * t.element_size() for t in tensors.values())
        weight_map |= dict.fromkeys(tensors, target.name) if file in names else {}
    if weight_map:
        index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(weight_map.items()))}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return len(pickles), count, size, left_out


def _untied(tensors: Mapping[str, Tensor], tied: Mapping[str, str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors, contiguous and each with memory of its own; names that the model ties are left out.

    Names that share memory though the model does not tie them each get a copy.
    """
    kept: dict[str, Tensor] = {}
    dropped: dict[str, str] = {}
    owners: set[int] = set()
    for name, tensor in tensors.items():
        other = tied.get(name, "")
        if other in tensors and _place(tensor) == _place(tensors[other]):
            dropped[name] = other
            continue
        shared = tensor.untyped_storage().data_ptr() in owners
        owners.add(tensor.untyped_storage().data_ptr())
        own = tensor.detach().clone(memory_format=torch.contiguous_format) if shared else tensor.detach().contiguous()
        kept[name] = own
    return kept, dropped


def _place(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype


def tied_names(folder: Path) -> dict[str, str]:
    """The names of weights that the folder's model ties, each with the name that it is tied to.

    Empty where transformers does not know the model: then every name gets its weights.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        tied: dict[str, str] = dict(meta_model(config).all_tied_weights_keys)
    except Exception:  # no causal model, or one of its author's own
        return {}
    return tied


def _check_same(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Read the file again: a disk that fails must not leave other weights."""
    from safetensors import safe_open

    with ExitStack() as stack:
        written = stack.enter_context(safe_open(file, "pt"))
        for name, tensor in tensors.items():
            if not torch.equal(_bits(tensor), _bits(written.get_tensor(name))):
                raise UserError(f"{file}: {name} reads otherwise than it was written; is the disk failing?")


def _bits(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1).view(torch.uint8)


def _copy_others(source: Path, folder: Path) -> None:
    for file in sorted(source.iterdir()):
        wanted = file.suffix in COPIED or file.name.upper().startswith("LICENSE")
        if wanted and file.is_file() and file.name != INDEX and not file.name.endswith(".index.json"):
            shutil.copyfile(file, folder / file.name)

"""Reads pickled weights without running code: torch's restricted unpickler, which knows tensors only.

A file may still claim more than it holds: entries that inflate, or one value seen as a huge tensor. Such files are
refused before they are written or computed.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from overopt.errors import UserError
from overopt.models.folder import check_readable, read_json

STEMS = {"pytorch_model": "model", "value_head": "value_head", "adapter_model": "adapter_model"}
"""Stems of the pickled weights of a model folder, and of the safetensors files that take their place."""
INDEX = "pytorch_model.bin.index.json"
COPIES = 4
"""How often the stored bytes may be seen by tensors; tied weights see them twice or three times."""
ASKED_FOR = re.compile(r"unsupported GLOBAL ([\w.]+)|safe_globals\(\[([\w.]+)\]\)")
"""The class or function in torch's message about a pickle that holds more than tensors."""


def pickled_files(folder: Path) -> list[Path]:
    """The files of pickled weights in a model folder, shards in order; UserError if a shard is missing or elsewhere."""
    names = [f"{stem}.bin" for stem in STEMS if (folder / f"{stem}.bin").exists()]
    if (folder / INDEX).exists() and "pytorch_model.bin" not in names:
        named = read_json(folder / INDEX).get("weight_map")
        if not isinstance(named, dict) or not named or not all(isinstance(name, str) for name in named.values()):
            raise UserError(f"{folder / INDEX}: lists no weights (weight_map); download it again")
        shards = sorted(set(named.values()))
        for name in shards:
            if Path(name).name != name or not name.endswith(".bin"):
                raise UserError(f"{folder / INDEX}: names {name!r}, which is no weight file of its folder")
        names = shards + names
    if missing := [name for name in names if not (folder / name).exists()]:
        raise UserError(f"{folder}: {len(missing)} of {len(names)} weight files are missing, first {missing[0]}")
    return [folder / name for name in names]


def read_pickle(path: Path) -> dict[str, Tensor]:
    """The named tensors of a file that `torch.save` wrote, mapped from the disk where its format allows.

    UserError if the file asks for anything but tensors, is damaged, or holds less than its tensors show.
    """
    check_readable(path)
    mapped = zipfile.is_zipfile(path)
    if mapped:
        _check_archive(path)
    try:
        with warnings.catch_warnings():  # torch warns of the pickle protocol
            warnings.simplefilter("ignore")
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # a damaged or hostile pickle may raise anything
        raise UserError(f"{path}: {_reason(error)}") from error
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(name, str) for name in loaded):
        raise UserError(f"{path}: holds no weights by name but a {type(loaded).__name__}; {_ASK}")
    if others := [name for name, value in loaded.items() if not isinstance(value, Tensor)]:
        raise UserError(
            f"{path}: {others[0]!r} is no tensor but a {type(loaded[others[0]]).__name__}: this is the state of a "
            f"training, not a model's weights; {_ASK}"
        )
    _check_sizes(path, loaded)
    return dict(loaded)


_ASK = "name a folder whose .bin files transformers wrote (pytorch_model.bin)"


def _check_archive(path: Path) -> None:
    """torch stores its archives uncompressed; one that inflates was made to fill the memory."""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > path.stat().st_size:
                raise UserError(
                    f"{path}: its part {entry.filename[:80]!r} is compressed ({entry.file_size:,} bytes once "
                    "unpacked), which torch never does; it is not opened"
                )


def _check_sizes(path: Path, tensors: Mapping[str, Tensor]) -> None:
    shown, stored = 0, {}
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
            raise UserError(f"{path}: {name} is a sparse, quantized or empty tensor, which safetensors cannot hold")
        size, storage = tensor.numel() * tensor.element_size(), tensor.untyped_storage()
        if size > storage.nbytes():
            raise UserError(
                f"{path}: {name} shows {size:,} bytes, and {storage.nbytes():,} are stored; it is not converted"
            )
        shown, stored[storage.data_ptr()] = shown + size, storage.nbytes()
    if shown > COPIES * (held := sum(stored.values())):
        raise UserError(f"{path}: its tensors show {shown:,} bytes, and {held:,} are stored; it is not converted")


def _reason(error: Exception) -> str:
    said = " ".join(str(error).split())
    if asked := ASKED_FOR.search(said):
        return (
            f"this pickle asks for {asked[1] or asked[2]}, which is no tensor and could run code, so it is not loaded; "
            "ask its author for safetensors"
        )
    if isinstance(error, pickle.UnpicklingError):
        return "no file of torch.save, or a damaged one; download it again"
    return f"cannot be read: {type(error).__name__}: {said[:120]}; download it again"

"""Checks of a model folder's files, so that what is damaged or unusable is named with a remedy.

Loaders of configurations, weights and tokenizers may raise any exception; they are always called within `reading`,
which turns it into a UserError.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from overopt.datafiles import LFS_POINTER
from overopt.errors import UserError
from overopt.hub.names import is_inside

HEADER_LIMIT = 100_000_000
"""The largest safetensors header, in bytes."""
QUANTIZED = ("F8_", "F4", "F6_", "I8", "U8", "I4", "U4")
"""Prefixes of the dtypes of quantized weights, which cannot be trained."""
WRAPPED = "_reward_model"
"""The end of the model types of Open-Assistant's reward models."""
HEAD_FILE = "value_head.safetensors"
"""The file into which some trainers write a reward model's head."""
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
SAVE = "load it where it came from and save it with save_pretrained"
CODE = "asks for Python code of its own, which overopt does not run; only architectures that transformers knows train"


@contextmanager
def reading(folder: Path, what: str, remedy: str = "") -> Iterator[None]:
    """Turn any exception raised within into a UserError: `what`, then the damaged file or the library's words."""
    try:
        yield
    except (UserError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a panic of a Rust library is not an Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise UserError(f"{folder}: {what}: {_reason(folder, error, remedy)}") from error


def check_folder(folder: Path) -> dict[str, Any]:
    """The folder's config.json, of a wrapped model the body's; UserError unless it is a model that can be trained."""
    if not (folder / "config.json").exists():
        raise UserError(f"{folder}: not a Hugging Face model folder (no config.json{_instead(folder)})")
    config = unwrapped(read_json(folder / "config.json"))
    kind = config.get("model_type")
    if not isinstance(kind, str) or not kind:
        raise UserError(f"{folder}/config.json: names no model_type (the architecture); {SAVE}")
    quantization = config.get("quantization_config") or config.get("compression_config")
    if quantization:
        method = quantization.get("quant_method") if isinstance(quantization, dict) else None
        raise UserError(
            f"{folder}: its weights are quantized ({method or 'quantization_config'}), and quantized weights cannot be "
            "trained; use the model's folder in full or half precision"
        )
    _check_known(folder, kind, config)
    return config


def unwrapped(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of the body, where a reward model's author wrapped it into one of his own; else as it is."""
    body = config.get("base_config")
    if not config.get("model_type") and isinstance(body, dict):  # a class of one's own has an empty name
        return body
    kind = config.get("model_type")
    if isinstance(kind, str) and kind.endswith(WRAPPED) and config.get("pooling", "last") == "last":
        return config | {"model_type": kind.removesuffix(WRAPPED)}
    return config


def _check_known(folder: Path, kind: str, config: dict[str, Any]) -> None:
    from transformers import CONFIG_MAPPING

    if kind in CONFIG_MAPPING:
        return
    if config.get("auto_map"):
        raise UserError(f"{folder}: this {kind!r} model {CODE}")
    raise UserError(
        f"{folder}/config.json: the installed transformers knows no model_type {kind!r}; a newer one may (pip install "
        "--upgrade transformers)"
    )


def check_weights(folder: Path) -> None:
    """Raise UserError unless the weights are complete safetensors files, before anything loads them."""
    for file in weight_files(folder):
        check_safetensors(file)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of the model's weights; UserError if there are none, or some are missing."""
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").exists():
        shards = ["model.safetensors"]
    elif index.exists():
        named = read_json(index).get("weight_map")
        if not isinstance(named, dict) or not named or not all(isinstance(name, str) for name in named.values()):
            raise UserError(f"{index}: lists no weights (weight_map); download it again")
        shards = sorted(set(named.values()))
    else:
        raise UserError(f"{folder}: has no weights (model.safetensors{_instead(folder)})")
    if outside := [name for name in shards if not is_inside(name)]:
        raise UserError(f"{index}: names a file outside the folder ({outside[0]!r}); do not use this model")
    missing = [name for name in shards if not (folder / name).exists()]
    if missing:
        raise UserError(f"{folder}: {len(missing)} of {len(shards)} weight files are missing, first {missing[0]}")
    return [folder / name for name in shards]


def tensor_files(folder: Path) -> dict[str, tuple[Path, tuple[int, ...]]]:
    """The file and the shape of each tensor of a model, by name, a head in a file of its own included."""
    alone = folder / HEAD_FILE
    files = [*weight_files(folder), *([alone] if alone.exists() else [])]
    return {name: (file, shape) for file in files for name, shape in check_safetensors(file).items()}


def check_safetensors(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of a file's tensors by their names; UserError if it is damaged, cut short or quantized."""
    check_readable(path)
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = struct.unpack("<Q", stream.read(8).ljust(8, b"\0"))[0]
        if size < 8 or length > HEADER_LIMIT:
            raise UserError(f"{path}: no safetensors file; download it again")
        try:
            header = json.loads(stream.read(length))
            tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
            ends = [int(entry["data_offsets"][1]) for entry in tensors.values()]
            types = {name: str(entry["dtype"]) for name, entry in tensors.items()}
            shapes = {name: tuple(int(size) for size in entry["shape"]) for name, entry in tensors.items()}
        except Exception as error:  # a damaged header may raise anything
            raise UserError(f"{path}: its safetensors header is damaged or cut short; download it again") from error
    whole = 8 + length + max(ends, default=0)
    if size < whole:
        raise UserError(f"{path}: cut short: it has {size} bytes of {whole}; download it again")
    for name, kind in types.items():
        if kind.startswith(QUANTIZED) and name.endswith("weight"):
            raise UserError(
                f"{path}: {name} is quantized ({kind}), and quantized weights cannot be trained; use the model's "
                "folder in full or half precision"
            )
    return shapes


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a model folder."""
    check_readable(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except Exception as error:  # not UTF-8, not JSON, or nested too deep
        raise UserError(f"{path}: not JSON ({error}); download it again") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds no JSON object; download it again")
    return value


def check_readable(path: Path) -> None:
    """Raise UserError if the file is missing, empty, or a git-lfs pointer."""
    try:
        with path.open("rb") as stream:
            start = stream.read(len(LFS_POINTER))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    if start == LFS_POINTER:
        raise UserError(f"{path}: a git-lfs pointer, not the file itself; run git lfs pull in its repository")
    if not start:
        raise UserError(f"{path}: empty; download it again")


def check_text_files(folder: Path) -> None:
    """Raise UserError if a file that loading reads beside the weights is damaged."""
    for path in sorted(folder.glob("*.json")):
        if not path.name.endswith(".index.json"):
            read_json(path) if path.name != "tokenizer.json" else check_readable(path)
    for path in [*sorted(folder.glob("*.jinja")), folder / "tokenizer.model", folder / "merges.txt"]:
        if path.exists():
            check_readable(path)
        if path.suffix == ".jinja":
            try:
                path.read_text(encoding="utf-8")
            except Exception as error:
                raise UserError(f"{path}: a chat template that is not UTF-8 ({error}); download it again") from error


def _instead(folder: Path) -> str:
    """What the folder contains that the user may have meant, as the end of a message."""
    found = {name: sorted(path.name for path in folder.glob(name)) for name in ("*.gguf", *PICKLES)}
    pickles = [name for pattern in PICKLES for name in found[pattern]]
    if found["*.gguf"]:
        return f"; to train from the GGUF file name it: {folder / found['*.gguf'][0]}"
    if pickles:
        return (
            f"; {pickles[0]} is a pickle, which could run code when loaded and is never loaded here; write it as "
            f"safetensors: overopt convert {folder} NEW_FOLDER"
        )
    return ""


def _reason(folder: Path, error: BaseException, remedy: str) -> str:
    """The damaged file, or else the library's words, shortened and without advice that does not apply."""
    try:
        if folder.is_dir():
            check_text_files(folder)
        if (folder / "tokenizer.json").exists():
            read_json(folder / "tokenizer.json")
    except UserError as found:
        return str(found)
    said = " ".join(str(error).split())
    if "trust_remote_code" in said:
        return f"it {CODE}"
    said = f"{type(error).__name__}: {said[:300]}" if said else type(error).__name__
    return said + remedy

"""Which files of a repository make a model that can be trained: safetensors, configuration, tokenizer, templates."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from overopt.datafiles import json_object, json_value
from overopt.errors import UserError
from overopt.hub.download import Listing, fetch, listing
from overopt.hub.errors import missing
from overopt.hub.names import HubName

What = Literal["all", "configuration", "tokenizer", "pickles"]

TEXTS = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.vocab", "*.spm", "*.bpe")
"""Files of configurations, tokenizers and chat templates."""
TEXT_LIMIT = 500_000_000
"""Bytes of the largest of them that is fetched; the largest known, tokenizers, have some ten million."""
TOKENIZERS = ("tokenizer", "vocab", "spiece.model", "sentencepiece")
"""How the names of their files begin."""
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
PICKLED = ("pytorch_model*.bin", "value_head.bin", "adapter_model.bin")
"""The pickles that can be converted."""
HEAD = "value_head.safetensors"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""The files of an adapter of another model, LoRA's matrices; its configuration names that model."""


def model_snapshot(name: HubName, what: What = "all") -> Path:
    """Return the folder of a model's files in the cache, fetched as far as they are missing.

    `configuration`: config.json; `tokenizer`: all but the weights; `pickles`: pickled weights, for `overopt convert`.
    UserError if the repository holds no such model, or as in `fetch`.
    """
    found = listing(name)
    try:
        return _fetched(found, what)
    except UserError:
        if found.partial:  # it says what the copy lacks, not the repository
            raise UserError(f"{name}: {missing(found.name, 'parts of it')}") from None
        raise


def _fetched(found: Listing, what: What) -> Path:
    texts = _texts(found, what)
    if what == "all":
        _check_weights(found)
    folder = fetch(found, texts)
    if what == "pickles":
        return fetch(found, _pickles(found))
    return fetch(found, _weights(found, folder)) if what == "all" else folder


def _texts(found: Listing, what: What) -> list[str]:
    needed, beginnings = ("tokenizer", TOKENIZERS) if what == "tokenizer" else ("config.json", ("config.json", ADAPTER))
    if not any(file.startswith(beginnings) for file in found.files):
        some = ", ".join(sorted(found.files)[:6]) or "no file"
        raise UserError(f"{found.name}: is no model that transformers can load: it has no {needed}, but {some}")
    wanted = {file for file in found.files if what != "configuration" and _is_text(file)}
    wanted |= {"config.json", ADAPTER} & found.files.keys()
    for file in wanted:
        if found.files[file].size > TEXT_LIMIT:
            size = found.files[file].size / 1e9
            raise UserError(f"{found.name}: its {file} has {size:.1f} GB; no configuration or tokenizer has")
    return sorted(wanted)


def _is_text(file: str) -> bool:
    """Whether a file is one of the texts: at the top of the repository, or a chat template one folder below."""
    folders = file.count("/")
    return any(fnmatchcase(file, text) for text in TEXTS) if folders == 0 else folders == 1 and file.endswith(".jinja")


def _check_weights(found: Listing) -> None:
    """Raise UserError if there are no safetensors, before anything is fetched."""
    if found.files.keys() & {WEIGHTS, INDEX} or _is_adapter(found):
        return
    top = sorted(file for file in found.files if "/" not in file)
    pickles = [file for file in top if any(fnmatchcase(file, pickle) for pickle in PICKLES)]
    if ADAPTER in top:
        raise UserError(
            f"{found.name}: is an adapter of another model, without {ADAPTER_WEIGHTS}; pickles could run code when "
            "loaded and are never loaded here: merge it into that model, and name the result"
        )
    if pickles:
        raise UserError(
            f"{found.name}: its weights are pickles ({pickles[0]}), which could run code when loaded and are never "
            f"loaded here: `overopt convert {found.name} FOLDER` makes safetensors of them; then name FOLDER"
        )
    raise UserError(f"{found.name}: has no weights ({WEIGHTS}), but {', '.join(top[:6])}")


def _is_adapter(found: Listing) -> bool:
    return {ADAPTER, ADAPTER_WEIGHTS} <= found.files.keys() and not found.files.keys() & {WEIGHTS, INDEX}


def _pickles(found: Listing) -> list[str]:
    """The files of pickled weights; UserError if there are none, or if they are not needed."""
    if ready := sorted(found.files.keys() & {WEIGHTS, INDEX}):
        raise UserError(f"{found.name}: has safetensors already ({ready[0]}); name it as it is, there is no need")
    pickles = [file for file in found.files if any(fnmatchcase(file, name) for name in PICKLED)]
    if not pickles:
        top = ", ".join(sorted(file for file in found.files if "/" not in file)[:6])
        raise UserError(f"{found.name}: has no pickled weights ({', '.join(PICKLED)}), but {top}")
    return pickles


def _weights(found: Listing, folder: Path) -> list[str]:
    """The files of the weights: one, or those that the index names; and a reward model's head in a file of its own."""
    head = sorted(found.files.keys() & {HEAD})
    if _is_adapter(found):
        return [ADAPTER_WEIGHTS]
    if WEIGHTS in found.files:
        return [WEIGHTS, *head]
    place = f"{found.name}: its {INDEX}"
    named = json_object(json_value((folder / INDEX).read_bytes(), place), place).get("weight_map")
    if not isinstance(named, dict) or not named:
        raise UserError(f"{place} lists no weights (weight_map)")
    files = sorted({str(file) for file in named.values()})
    if lacking := [file for file in files if file not in found.files]:
        raise UserError(
            f"{found.name}: lacks {len(lacking)} of {len(files)} files of weights that its {INDEX} names, first "
            f"{lacking[0]}"
        )
    return files + head

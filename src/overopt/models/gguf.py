"""Converts a GGUF file, once, into an ordinary Hugging Face folder.

llama.cpp's GGUF holds weights (mostly quantized), tokenizer, chat template and architecture in one file. Here the
weights are dequantized to float32 and everything is written by `save_pretrained`, so that the rest of the package never
reads a GGUF file. The precision that quantization lost stays lost.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from overopt.errors import UserError
from overopt.models.folder import check_readable, read_json, reading
from overopt.records.hashing import hash_file

_NEEDED_PACKAGES = ("gguf", "accelerate")
_MAGIC = b"GGUF"
MADE_FROM = "gguf.json"
"""The file in a converted folder that identifies the GGUF file."""


def dequantize(gguf_file: Path, out: Path) -> Path:
    """Write model and tokenizer of `gguf_file` to the folder `out` and return it.

    A complete `out` is not changed, since runs may depend on it. UserError if it was made from another file.
    """
    if _is_complete(out):
        _check_made_from(gguf_file, out)
        return out
    _check(gguf_file, out)
    tokenizer, model = _read(gguf_file)
    staging = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # Beside `out`, so that the rename stays within one file system and is atomic.
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        _write(tokenizer, model, staging, gguf_file)
        staging.chmod(0o755)  # mkdtemp makes it private
        staging.rename(out)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{out}: cannot write the model of {gguf_file}: {error}") from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
    return out


def _is_complete(folder: Path) -> bool:
    has_weights = any(folder.glob("*.safetensors"))
    return has_weights and (folder / "config.json").is_file() and (folder / "tokenizer.json").is_file()


def _check_made_from(gguf_file: Path, folder: Path) -> None:
    """Raise UserError if the folder records another GGUF file; accept it if that file or the record is missing."""
    if not gguf_file.is_file() or not (folder / MADE_FROM).is_file():
        return
    made_from = read_json(folder / MADE_FROM)
    if made_from.get("size") != gguf_file.stat().st_size or made_from.get("sha256") != hash_file(gguf_file):
        raise UserError(
            f"{gguf_file}: {folder} was made from another file of this name, which this one has replaced; rename that "
            "folder, and the new file is unpacked beside it (runs that were made from the old one need it)"
        )


def _check(gguf_file: Path, out: Path) -> None:
    missing = [name for name in _NEEDED_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"{gguf_file}: reading a GGUF file needs {' and '.join(missing)}: pip install {' '.join(missing)}"
        )
    if not gguf_file.is_file():
        raise UserError(f"{gguf_file}: no such file; give the path of a .gguf file")
    check_readable(gguf_file)
    with gguf_file.open("rb") as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            raise UserError(f"{gguf_file}: not a GGUF file (it does not begin with the bytes GGUF)")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists and is not a complete Hugging Face folder; remove it or choose another path")


def _name_eos(tokenizer: Any, gguf_file: Path) -> None:
    """Set the EOS that the file names; some versions of transformers choose another."""
    from gguf import GGUFReader

    field = GGUFReader(gguf_file).fields.get("tokenizer.ggml.eos_token_id")
    if field is not None:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(int(field.parts[-1][0]))


def _read(gguf_file: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source: dict[str, Any] = {"gguf_file": gguf_file.name, "local_files_only": True, "trust_remote_code": False}
    with reading(gguf_file, "transformers cannot read this GGUF file (is it whole?)"), _without_bars():
        tokenizer = AutoTokenizer.from_pretrained(gguf_file.parent, **source)
        _name_eos(tokenizer, gguf_file)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            gguf_file.parent, dtype=torch.float32, output_loading_info=True, **source
        )
    model, report = loaded
    if report["missing_keys"]:  # transformers gives them random values
        missing = ", ".join(sorted(map(str, report["missing_keys"]))[:4])
        raise UserError(f"{gguf_file}: has no weights for {missing}; it is damaged, download it again")
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise UserError(f"{gguf_file}: values of {name} are NaN or infinite; it is damaged, download it again")
    return tokenizer, model


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Hide progress bars, which go to stderr; warnings go through logging and are still shown."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield


def _write(tokenizer: Any, model: Any, folder: Path, gguf_file: Path) -> None:
    with _without_bars():
        _take_quantization_marks_off(model)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        _check_reload(model, folder, gguf_file)
    made_from = {"file": gguf_file.name, "size": gguf_file.stat().st_size, "sha256": hash_file(gguf_file)}
    (folder / MADE_FROM).write_text(json.dumps(made_from, indent=2) + "\n", encoding="utf-8")


def _take_quantization_marks_off(model: Any) -> None:
    # The weights are plain float32 by now, but `save_pretrained` refuses a model that says it is quantized.
    model.is_quantized = False
    for owner, mark in ((model.config, "quantization_config"), (model, "hf_quantizer"), (model, "quantization_method")):
        if hasattr(owner, mark):
            delattr(owner, mark)


def _check_reload(model: Any, folder: Path, gguf_file: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    again, info = loaded
    wrong = {kind: sorted(map(str, info[kind])) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    if any(wrong.values()):
        raise UserError(f"{gguf_file}: its model does not survive saving and loading: {wrong}")
    reloaded = again.state_dict()
    changed = [name for name, weight in model.state_dict().items() if not torch.equal(weight, reloaded[name])]
    if changed:
        raise UserError(f"{gguf_file}: weights changed by saving and loading: {', '.join(changed[:5])}")

"""What counts of a model folder, and what has changed of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from overopt.errors import UserError
from overopt.records.hashing import LARGE, changed, hash_file, hash_weights, model_files


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_every_file_that_decides_what_a_model_computes_counts(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    counted = [
        "additional_chat_templates/tool_use.jinja",
        *("chat_template.jinja", "config.json", "generation_config.json", "merges.txt", "model.safetensors"),
        *("pytorch_model.bin", "special_tokens_map.json", "tokenizer.json", "tokenizer.model", "weights.gguf"),
    ]
    for name in [*counted, "README.md", ".hidden.json", "runs/config.json"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (tmp_path / "model.gguf").write_text("made from")
    expected = {name: digest(name.encode()) for name in counted}
    assert model_files(folder) == expected | {"../model.gguf": digest(b"made from")}


def test_what_has_changed_is_named() -> None:
    assert changed({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "3", "d": "4"}) == ["b", "c", "d"]
    assert changed({"../model.gguf": "1"}, {}) == []  # removed once the folder had been made
    assert changed({"../model.gguf": "1"}, {"../model.gguf": "2"}) == ["../model.gguf"]


def test_the_one_hash_of_earlier_versions_is_of_weights_and_config(tmp_path: Path) -> None:
    for name in ("config.json", "b.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text(name)
    parts = b"".join(n.encode() + hashlib.sha256(n.encode()).digest() for n in ("b.safetensors", "config.json"))
    assert hash_weights(tmp_path) == digest(parts)


def test_a_large_file_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"x" * LARGE)
    assert hash_file(file) == digest(b"x" * LARGE)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda *_: pytest.fail("read again"))
        assert hash_file(file) == digest(b"x" * LARGE)
    file.write_bytes(b"y" * (LARGE + 1))
    assert hash_file(file) == digest(b"y" * (LARGE + 1))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"model.safetensors: cannot be read: No such file"):
        hash_weights(tmp_path)


def test_what_other_trainers_leave_in_a_folder_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    before = model_files(tmp_path)
    for name in ("training_args.bin", "optimizer.bin", "trainer_state.json", "README.md", ".hidden.json"):
        (tmp_path / name).write_text("x")
    assert model_files(tmp_path) == before == {"config.json": digest(b"{}")}

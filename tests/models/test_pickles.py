from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from overopt.errors import UserError
from overopt.models.pickles import pickled_files, read_pickle

WEIGHT = torch.arange(16.0).reshape(4, 4)


class RunsCode:
    """What a hostile pickle holds: unpickled by an ordinary unpickler it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def saved(path: Path, value: Any, **how: Any) -> Path:
    torch.save(value, path, **how)
    return path


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_are_read_with_their_ties(tmp_path: Path, zipped: bool) -> None:
    parameter = torch.nn.Parameter(torch.tensor(2.0, dtype=torch.bfloat16))
    value = {"a": WEIGHT, "b": WEIGHT, "c": parameter}
    read = read_pickle(saved(tmp_path / "w.bin", value, _use_new_zipfile_serialization=zipped))
    assert list(read) == ["a", "b", "c"] and torch.equal(read["a"], WEIGHT)
    assert read["a"].data_ptr() == read["b"].data_ptr()
    assert (read["c"].dtype, read["c"].item()) == (torch.bfloat16, 2.0)


@pytest.mark.parametrize("zipped", [True, False])
def test_no_code_is_run(tmp_path: Path, zipped: bool) -> None:
    value = {"a": WEIGHT, "b": RunsCode(tmp_path / "made")}
    path = saved(tmp_path / "w.bin", value, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=rf"{path}: this pickle asks for posix.mkdir, which .* ask its author"):
        read_pickle(path)
    whole = saved(tmp_path / "m.bin", torch.nn.Linear(2, 2))
    with pytest.raises(UserError, match="asks for torch.nn.modules.linear.Linear"):
        read_pickle(whole)
    plain = tmp_path / "p.bin"
    plain.write_bytes(pickle.dumps(value))
    with pytest.raises(UserError, match="no file of torch.save, or a damaged one"):
        read_pickle(plain)
    assert not (tmp_path / "made").exists()
    torch.load(path, weights_only=False)  # it was a live one
    assert (tmp_path / "made").exists()


def test_what_is_no_set_of_weights_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no weights by name but a list; name a folder"):
        read_pickle(saved(tmp_path / "a.bin", [WEIGHT]))
    with pytest.raises(UserError, match="'epoch' is no tensor but a int: this is the state of a training"):
        read_pickle(saved(tmp_path / "b.bin", {"a": WEIGHT, "epoch": 3}))
    with pytest.raises(UserError, match="a is a sparse"):
        read_pickle(saved(tmp_path / "c.bin", {"a": WEIGHT.to_sparse()}))


def test_damaged_files_are_named(tmp_path: Path) -> None:
    whole = saved(tmp_path / "w.bin", {"a": WEIGHT}).read_bytes()
    cut, noise, pointer = (tmp_path / name for name in ("cut.bin", "noise.bin", "pointer.bin"))
    cut.write_bytes(whole[: len(whole) // 2])
    noise.write_bytes(b"never a pickle")
    pointer.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match=rf"{cut}: cannot be read: .*download it again"):
        read_pickle(cut)
    with pytest.raises(UserError, match=f"{noise}: no file of torch.save"):
        read_pickle(noise)
    with pytest.raises(UserError, match="a git-lfs pointer"):
        read_pickle(pointer)


def test_files_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a shows 4,000,000,000 bytes, and 4 are stored"):
        read_pickle(saved(tmp_path / "wide.bin", {"a": torch.zeros(1).expand(10**9)}))
    with pytest.raises(UserError, match="tensors show 1,280 bytes, and 64 are stored"):
        read_pickle(saved(tmp_path / "many.bin", {f"a{i}": WEIGHT for i in range(20)}))
    path, squeezed = saved(tmp_path / "w.bin", {"a": torch.zeros(1_000_000)}), tmp_path / "z.bin"
    with zipfile.ZipFile(path) as stored, zipfile.ZipFile(squeezed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in stored.namelist():
            archive.writestr(name, stored.read(name))
    with pytest.raises(UserError, match=r"its part 'w/data.*' is compressed .* it is not opened"):
        read_pickle(tmp_path / "z.bin")


def test_the_files_of_a_folder(tmp_path: Path) -> None:
    assert pickled_files(tmp_path) == []
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "two.bin", "b": "one.bin", "c": "one.bin"}}))
    saved(tmp_path / "one.bin", {})
    with pytest.raises(UserError, match="1 of 2 weight files are missing, first two.bin"):
        pickled_files(tmp_path)
    saved(tmp_path / "two.bin", {})
    saved(tmp_path / "value_head.bin", {})
    assert [file.name for file in pickled_files(tmp_path)] == ["one.bin", "two.bin", "value_head.bin"]
    for elsewhere in ("../secret.bin", "/etc/secret.bin", "weights.pt"):
        index.write_text(json.dumps({"weight_map": {"a": elsewhere}}))
        with pytest.raises(UserError, match="which is no weight file of its folder"):
            pickled_files(tmp_path)
    index.write_text(json.dumps({"weight_map": {}}))
    with pytest.raises(UserError, match="lists no weights"):
        pickled_files(tmp_path)

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from overopt.config import DataLocation, Folder, Location, block, load, locations, save, to_yaml
from overopt.config.describing import describe_fields
from overopt.config.locations import LocationMark, absolute_path, location_mark, written
from overopt.errors import ConfigError


@block
class Places:
    stage: ClassVar[str] = "places"
    model: Location = "a/b"
    data: DataLocation = "a/b"
    folder: Folder = "a/b"


def test_what_a_file_writes_is_spelled_out_relative_to_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(
        "stage: places\nmodel: EleutherAI/pythia-1b@step1\ndata: hf://datasets/a/b@v1/x*.jsonl\nfolder: c/d\n"
    )
    found = load(Places, file)
    assert found.model == "hf://EleutherAI/pythia-1b@step1"
    assert found.data == "hf://datasets/a/b@v1/x*.jsonl"
    assert found.folder == str(tmp_path / "c/d")
    (tmp_path / "EleutherAI").mkdir()
    assert load(Places, file).model == str(tmp_path / "EleutherAI/pythia-1b@step1")


def test_a_saved_location_means_the_same_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = load(Places, {"data": "x/y", "model": "a/b", "folder": "f"}, base=tmp_path)
    (tmp_path / "run").mkdir()
    save(found, tmp_path / "run" / "config.yaml")
    assert "model: 'hf://a/b', data: 'hf://datasets/x/y', folder: ../f" in to_yaml(found, tmp_path / "run")
    (tmp_path / "run" / "a").mkdir()  # a folder of the owner's name, which appears later
    monkeypatch.chdir(tmp_path / "run")
    assert load(Places, tmp_path / "run" / "config.yaml") == found
    assert locations(found) == {"model": "hf://a/b", "data": "hf://datasets/x/y", "folder": str(tmp_path / "f")}


def test_an_object_made_in_python_has_names_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = Places(model="a/b", data="a/b", folder="a/b")
    assert (made.model, made.data, made.folder) == ("hf://a/b", "hf://datasets/a/b", "a/b")


def test_an_override_is_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "c").mkdir()
    monkeypatch.chdir(tmp_path)
    found = load(Places, {}, [("model", "o/n@v2"), ("data", "c/d")], base=Path("/elsewhere"))
    assert found.model == "hf://o/n@v2"
    assert found.data == str(tmp_path / "c/d")


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("model", "hf://gpt2", "hf://gpt2: no name on the Hub; write hf://OWNER/NAME"),
        ("model", "hf://datasets/a/b", "hf://datasets/a/b is a data set; a model is written hf://a/b"),
        ("data", "hf://a/b", "hf://a/b is a model; a data set is written hf://datasets/a/b"),
        ("folder", "hf://a/b", "hf://a/b is on the Hub; a path on this machine is needed here"),
        ("model", "https://huggingface.co/a/b", "is the address of a page; write OWNER/NAME"),
    ],
)
def test_a_name_that_will_not_do_is_refused_with_its_line(tmp_path: Path, key: str, text: str, said: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(f"stage: places\n{key}: {text}\n")
    with pytest.raises(ConfigError) as refused:
        load(Places, file)
    assert f"x.yaml:2: {key}: " in str(refused.value) and said in str(refused.value)


def test_marks_and_words() -> None:
    assert location_mark([1, LocationMark("dataset")]) == LocationMark("dataset")
    assert location_mark(["x"]) is None
    assert [row["type"] for row in describe_fields(Places)] == ["path or name on the Hub"] * 2 + ["path"]


def test_paths(tmp_path: Path) -> None:
    assert absolute_path("a/../b", tmp_path) == str(tmp_path / "b")
    assert written(str(tmp_path / "b"), tmp_path / "c") == "../b"
    assert written("hf://a/b", tmp_path) == "hf://a/b"

"""Where records are read: a folder laid out as a data set, a plain path, or the Hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from overopt.errors import UserError
from overopt.tasks.sources import Source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set as it is cloned from the Hub."""
    for name in ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    return tmp_path


def test_a_folder_has_the_splits_of_its_layout(folder: Path) -> None:
    assert Source(str(folder), split="test").files() == [folder / "data/test-00000-of-00001.parquet"]
    with pytest.raises(UserError, match=r"no split 'dev'; has train, test"):
        Source(str(folder), split="dev").files()


def test_a_cards_subsets_are_read_in_a_folder_too(folder: Path) -> None:
    (folder / "README.md").write_text("---\nconfigs:\n- {config_name: a, data_files: data/test-*}\n---\n")
    assert Source(str(folder), "a").files() == [folder / "data/test-00000-of-00001.parquet"]


def test_without_split_and_subset_a_path_is_read_as_ever(folder: Path) -> None:
    file = folder / "data/train-00000-of-00001.parquet"
    assert Source(str(file)).files() == [file]
    assert Source(str(folder / "data/train-*")).files() == [file]
    with pytest.raises(UserError, match=r"holds several data sets \(test, train\)"):
        Source(str(folder / "data")).files()
    with pytest.raises(UserError, match="is no folder, so it has no subset; leave subset out"):
        Source(str(file), "a", "train").files()


def test_where_no_name_says_a_split_records_must(tmp_path: Path, folder: Path) -> None:
    for name in ("batch3.json", "batch4.json", "news/batch5.json"):
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / name).write_text("x")
    raw = tmp_path / "raw"
    batches = [raw / "batch3.json", raw / "batch4.json"]
    for source in (Source(str(raw / "batch*"), split="valid1"), Source(str(batches[0]), split="valid1")):
        assert source.row_split == "valid1"
    assert Source(str(raw / "batch*"), split="valid1").files() == batches
    assert Source(str(raw), split="train").row_split == "train"
    assert Source(str(raw), split="train").files() == [*batches, raw / "news/batch5.json"]
    assert Source(str(raw), "news", "train").row_split == "train"
    assert Source(str(folder), split="test").row_split is None and Source(str(raw)).row_split is None
    assert Source("hf://datasets/O/N/raw/batch*.json", split="valid1").row_split == "valid1"
    assert Source("hf://datasets/O/N", split="valid1").row_split is None


def test_a_source_is_named_as_it_was_asked_for() -> None:
    assert str(Source("a.jsonl")) == "a.jsonl"
    assert str(Source("hf://datasets/O/N", "s", "test")) == "hf://datasets/O/N (subset s, split test)"

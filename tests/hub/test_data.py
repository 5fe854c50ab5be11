"""Data sets on the Hub by subset and split, fetched from a hub on this machine by the real client."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from hub import LoopbackHub, connected
from overopt.errors import UserError
from overopt.hub import data, download
from overopt.hub.data import data_files
from overopt.hub.names import parse


def parquet(*prompts: str) -> bytes:
    sink = io.BytesIO()
    rows = [{"prompt": prompt, "completion": " x"} for prompt in prompts]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
    return sink.getvalue()


TLDR = {
    "README.md": "---\nlicense: mit\n---\n",
    "data/train-00000-of-00002.parquet": parquet("a"),
    "data/train-00001-of-00002.parquet": parquet("b"),
    "data/validation-00000-of-00001.parquet": parquet("c"),
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    data._data_files.cache_clear()
    download._LISTINGS.clear()
    with LoopbackHub() as served:
        connected(monkeypatch, served, tmp_path / "cache")
        yield served
    data._data_files.cache_clear()


def found(location: str, subset: str | None = None, split: str | None = None) -> list[str]:
    """The paths in the repository; every file is there."""
    name = parse(location)
    assert name is not None
    got = data_files(name, subset, split)
    assert all(file.is_file() for file in got.files)
    return [str(file).partition(f"snapshots/{got.name.revision}/")[2] for file in got.files]


def test_a_split_is_fetched_and_nothing_else_of_the_data(hub: LoopbackHub) -> None:
    commit = hub.add("dataset", "O/tldr", TLDR)
    assert found("hf://datasets/O/tldr") == [*TLDR][1:3]
    assert hub.asked("validation-00000") == 0
    assert found("hf://datasets/O/tldr", split="validation") == [[*TLDR][3]]
    name = parse("hf://datasets/O/tldr")
    assert name is not None and str(data_files(name).name) == f"hf://datasets/O/tldr@{commit}"


def test_what_a_branch_means_stays_the_same_in_one_process(hub: LoopbackHub) -> None:
    first = hub.add("dataset", "O/tldr", TLDR)
    name = parse("hf://datasets/O/tldr")
    assert name is not None
    data_files(name)
    second = hub.add("dataset", "O/tldr", {"train.jsonl": "{}"})
    assert data_files(name).name.revision == first
    assert found(f"hf://datasets/O/tldr@{second}") == ["train.jsonl"]


def test_a_pattern_a_file_or_a_folder_is_named_after_the_repository(hub: LoopbackHub) -> None:
    hub.add("dataset", "O/hh", {f"{s}/{x}.jsonl": "{}" for s in ("helpful", "harmless") for x in ("train", "test")})
    assert found("hf://datasets/O/hh/helpful/test.jsonl") == ["helpful/test.jsonl"]
    assert found("hf://datasets/O/hh/*/test.jsonl") == ["harmless/test.jsonl", "helpful/test.jsonl"]
    assert found("hf://datasets/O/hh/helpful", split="test") == ["helpful/test.jsonl"]
    assert found("hf://datasets/O/hh", "helpful", "test") == ["helpful/test.jsonl"]
    with pytest.raises(UserError, match="no file matches nothing/\\*; it holds harmless/test.jsonl, harmless/train"):
        found("hf://datasets/O/hh/nothing/*")
    with pytest.raises(UserError, match="names its files already; leave out split"):
        found("hf://datasets/O/hh/helpful/test.jsonl", split="train")


def test_a_split_or_a_subset_that_does_not_exist_says_which_do(hub: LoopbackHub) -> None:
    hub.add("dataset", "O/tldr", TLDR)
    with pytest.raises(UserError, match=r"hf://datasets/O/tldr: no split 'test'; has train, validation"):
        found("hf://datasets/O/tldr", split="test")
    with pytest.raises(UserError, match="no subset 'b'; it has default, data"):
        found("hf://datasets/O/tldr", "b")


def test_a_repository_of_code_is_read_from_the_hubs_conversion(hub: LoopbackHub) -> None:
    """As openai/summarize_from_feedback, whose script is not run."""
    hub.add("dataset", "O/script", {"script.py": "raise SystemExit", "README.md": ""})
    files = {
        f"{subset}/{split}/0000.parquet": parquet("a") for subset in ("axis", "comparisons") for split in ("train",)
    }
    commit = hub.add("dataset", "O/script", files, "refs/convert/parquet")
    assert found("hf://datasets/O/script", "comparisons") == ["comparisons/train/0000.parquet"]
    assert found(f"hf://datasets/O/script@{commit}", "axis") == ["axis/train/0000.parquet"]  # as a resumed run asks
    with pytest.raises(UserError, match="has the subsets axis, comparisons; name one: subset"):
        found("hf://datasets/O/script")


def test_without_a_conversion_datasets_reads_it(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = hub.add("dataset", "O/arrow", {"data.arrow": b"ARROW1"})
    asked: list[Any] = []
    monkeypatch.setattr(data, "convert", lambda *asks: asked.append(asks) or Path(__file__))
    name = parse("hf://datasets/O/arrow")
    assert name is not None
    assert data_files(name, "sub", "test").files == [Path(__file__)]
    assert asked == [(name.at(commit), "sub", "test")]


def test_a_second_process_without_network_reads_the_cache(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("dataset", "O/tldr", TLDR)
    files = found("hf://datasets/O/tldr")
    data._data_files.cache_clear()
    download._LISTINGS.clear()
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert found("hf://datasets/O/tldr") == files
    with pytest.raises(UserError, match="hf download O/tldr --repo-type dataset"):
        found("hf://datasets/O/tldr", split="validation")


def test_the_card_names_subsets(hub: LoopbackHub) -> None:
    card = "---\nconfigs:\n- config_name: pairs\n  data_files: [{split: dev, path: odd.jsonl}]\n---\n"
    hub.add("dataset", "O/card", {"README.md": card, "odd.jsonl": json.dumps({"prompt": "a"}), "b.jsonl": "{}"})
    assert found("hf://datasets/O/card") == ["odd.jsonl"]

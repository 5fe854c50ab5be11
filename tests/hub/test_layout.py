"""Subsets and splits in the layouts that data sets on the Hub have."""

from __future__ import annotations

import pytest

from overopt.errors import UserError
from overopt.hub.layout import Layout, layout_of, matching


def layout(*paths: str, card: str | None = None) -> Layout:
    return layout_of(paths, card, "O/N")


def found(paths: list[str], subset: str | None = None, split: str | None = None, card: str | None = None) -> list[str]:
    return layout(*paths, card=card).files("O/N", subset, split)


SHARDED = [f"data/{split}-0000{i}-of-00002-0a1b.parquet" for split in ("train", "test") for i in (1, 0)]


def test_numbered_shards_name_their_split() -> None:
    """The layout of trl-lib/tldr."""
    assert found([*SHARDED, "README.md"], split="test") == sorted(SHARDED[2:])
    assert found(SHARDED) == sorted(SHARDED[:2])  # train, where no split is named


def test_names_of_folders_count_before_those_of_files() -> None:
    files = ["train/a.jsonl", "dev-1/b.jsonl", "eval.data/test.jsonl"]
    splits = layout(*files).subsets["default"]
    assert splits == {"train": ["train/a.jsonl"], "validation": ["dev-1/b.jsonl"], "test": ["eval.data/test.jsonl"]}


def test_names_of_files_hold_words_for_splits() -> None:
    files = ["my_train.csv", "valid-2.csv", "contest.csv", "training.csv", "x/TEST.csv"]
    assert layout(*files).subsets["default"] == {
        "train": ["my_train.csv", "training.csv"],
        "validation": ["valid-2.csv"],
    }


def test_files_without_such_words_are_all_train() -> None:
    assert found(["b.jsonl", "a.jsonl", ".hidden.jsonl", "__pycache__/c.jsonl", "config.json"]) == [
        "a.jsonl",
        "b.jsonl",
    ]


def test_folders_are_subsets_where_the_card_names_none() -> None:
    """The layout of Anthropic/hh-rlhf: without a subset, all of them."""
    files = [
        f"{subset}/{split}.jsonl.gz" for subset in ("harmless-base", "helpful-base") for split in ("train", "test")
    ]
    assert found(files, "helpful-base", "test") == ["helpful-base/test.jsonl.gz"]
    assert found(files, split="test") == ["harmless-base/test.jsonl.gz", "helpful-base/test.jsonl.gz"]
    with pytest.raises(UserError, match="no subset 'helpful'; it has default, harmless-base, helpful-base"):
        found(files, "helpful")


CARD = """---
license: mit
configs:
- config_name: pairs
  data_files:
  - split: train_prefs
    path: "data/train_prefs-*"
  - split: odd
    path: [extra/one.parquet, "extra/t*.parquet"]
- config_name: alone
  default: true
  data_files: "*.parquet"
- config_name: below
  data_dir: extra
---
# configs: none
"""
FILES = [
    "data/train_prefs-0.parquet",
    "extra/one.parquet",
    "extra/two.parquet",
    "three.parquet",
    "extra/x/test.parquet",
]


def test_the_card_decides() -> None:
    assert found(FILES, "pairs", "train_prefs", CARD) == ["data/train_prefs-0.parquet"]
    assert found(FILES, "pairs", "odd", CARD) == ["extra/one.parquet", "extra/two.parquet"]
    assert found(FILES, card=CARD) == ["three.parquet"]  # the default subset's `*` stays in its folder
    assert found(FILES, "below", "test", CARD) == ["extra/x/test.parquet"]
    with pytest.raises(UserError, match="no split 'test'; its subset 'pairs' has train_prefs, odd"):
        found(FILES, "pairs", "test", CARD)
    with pytest.raises(UserError, match="no subset 'extra'; it has pairs, alone, below"):
        found(FILES, "extra", card=CARD)
    with pytest.raises(UserError, match="has the splits train_prefs, odd, none of which is 'train'; name one: split"):
        found(FILES, "pairs", card=CARD)


def test_several_subsets_without_a_default_must_be_named() -> None:
    card = CARD.replace("  default: true\n", "")
    with pytest.raises(UserError, match="has the subsets pairs, alone, below; name one: subset"):
        found(FILES, card=card)


def test_conversions_of_the_hub_have_any_splits() -> None:
    files = [f"comparisons/{split}/000{i}.parquet" for split in ("train", "validation") for i in range(2)]
    files += ["axis/partial-test/0000.parquet", ".gitattributes"]
    assert found(files, "comparisons", "validation") == files[2:4]
    assert found(files, "axis") == ["axis/partial-test/0000.parquet"]
    assert found(["default/train_sft/0000.parquet", "default/train_gen/0000.parquet"], split="train_gen") == [
        "default/train_gen/0000.parquet"
    ]
    with pytest.raises(UserError, match="subsets axis, comparisons"):
        found(files)


def test_the_most_frequent_kind_is_read_and_parquet_of_equals() -> None:
    assert found(["train.jsonl", "train-2.json", "train.parquet"]) == ["train-2.json", "train.jsonl"]
    assert found(["train.jsonl", "train.parquet"]) == ["train.parquet"]
    with pytest.raises(UserError, match="no data files of a kind that is read"):
        found(["script.py", "a.arrow", "README.md"])


def test_a_card_that_cannot_be_read_says_so() -> None:
    bomb = "---\na: &a [x, x]\nconfigs: [*a, *a]\n---\n"
    for card in (bomb, "---\nconfigs: [\n---\n", "---\nconfigs:\n- data_files: x\n---\n"):
        with pytest.raises(UserError, match=r"the header of its README.md cannot be read \(.*name its files by a"):
            layout("x.parquet", card=card)
    listed = "---\nconfigs:\n- {config_name: a, data_files: [{split: 1, path: x}]}\n---\n"
    with pytest.raises(UserError, match="the data_files in the header"):
        layout("x.parquet", card=listed)


def test_no_path_leaves_the_folder() -> None:
    assert layout("../train.jsonl", "/etc/train.jsonl", "a/../../test.jsonl", "C:\\test.csv").subsets == {"default": {}}


def test_patterns_are_those_of_the_file_system() -> None:
    paths = ["a/b/c.json", "a/c.json", "c.json", ".git/c.json", "a/.x.json"]
    assert matching(paths, "a/*.json") == ["a/c.json"]
    assert matching(paths, "**/c.json") == ["a/b/c.json", "a/c.json", "c.json"]
    assert matching(paths, ".git/*") == [".git/c.json"]
    with pytest.raises(UserError, match=r"'\*\*' can only be"):
        matching(paths, "a**b/c")

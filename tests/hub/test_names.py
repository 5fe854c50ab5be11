from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub.utils import parse_hf_uri
from hypothesis import given
from hypothesis import strategies as st

from overopt.errors import UserError
from overopt.hub.names import HubName, is_inside, located, parse, short

COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ("hf://EleutherAI/pythia-1b-deduped", HubName("model", "EleutherAI/pythia-1b-deduped")),
        ("hf://models/a/b@v1.0", HubName("model", "a/b", "v1.0")),
        (f"hf://a/b@{COMMIT}", HubName("model", "a/b", COMMIT)),
        ("hf://a/b@refs/pr/3", HubName("model", "a/b", "refs/pr/3")),
        ("hf://a/b@topic%2Fx", HubName("model", "a/b", "topic/x")),
        ("hf://datasets/trl-lib/tldr", HubName("dataset", "trl-lib/tldr")),
        ("hf://datasets/a/b@main/data/train-*.parquet", HubName("dataset", "a/b", "main", "data/train-*.parquet")),
        ("hf://datasets/a/b/x@y.jsonl", HubName("dataset", "a/b", None, "x@y.jsonl")),
        (
            "hf://datasets/a/b@refs/convert/parquet/default/train/0000.parquet",
            HubName("dataset", "a/b", "refs/convert/parquet", "default/train/0000.parquet"),
        ),
    ],
)
def test_names_in_full(location: str, name: HubName) -> None:
    assert parse(location) == name
    assert parse(str(name)) == name
    theirs = parse_hf_uri(location)  # an independent reading of the same
    assert (theirs.type, theirs.id, theirs.revision, theirs.path_in_repo or None) == (
        name.kind, name.repo, name.revision, name.pattern,
    )  # fmt: skip


@pytest.mark.parametrize("path", ["a/b", "/a/b", "./a/b", "hf:/a/b", "file.jsonl"])
def test_a_path_is_no_name_in_full(path: str) -> None:
    assert parse(path) is None


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("hf://gpt2", "write hf://OWNER/NAME@REVISION"),
        ("hf://a/../b", "write hf://OWNER/NAME"),
        ("hf://../b", "write hf://OWNER/NAME"),
        ("hf://a/b@", "'' cannot be a revision"),
        ("hf://a/b@..%2F..%2Fx", "'../../x' cannot be a revision"),
        ("hf://datasets/a/b/../../x", "no path inside a repository"),
        ("hf://datasets/a/b//x", "no path inside a repository"),
        ("hf://a/b/model.gguf", "a GGUF file: fetch it by `hf download a/b model.gguf --local-dir FOLDER`"),
        ("https://huggingface.co/a/b", "is the address of a page; write OWNER/NAME"),
    ],
)
def test_names_that_are_misspelled(location: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        parse(location)
    assert said in str(refused.value) and location in str(refused.value)


def test_a_short_name_is_one_where_nothing_here_can_be_meant(tmp_path: Path) -> None:
    name = HubName("model", "a/b")
    assert located("a/b", tmp_path, "model") == name
    assert located("a/b@v1", tmp_path, "model") == name.at("v1")
    assert located("a/b@refs/convert/parquet", tmp_path, "dataset") == HubName("dataset", "a/b", "refs/convert/parquet")
    others = "./a/b ../a/b a a/b/c /a/b runs/sft out/rm data/x models/b datasets/b a/b.jsonl a/b.jsonl.gz a/b.parquet "
    for path in (others + "a/b.gguf ~/b a//b a/b* a/b@.. a/-b").split():
        assert located(path, tmp_path, "model") is None, path
    (tmp_path / "a").mkdir()  # a typing error in a path below it is no name on the Hub
    assert located("a/b", tmp_path, "model") is None
    assert located("hf://a/b", tmp_path, "model") == name


@given(st.text(st.sampled_from("ab./-_@%:\\*\0")))
def test_no_text_makes_a_name_that_leaves_the_cache(text: str) -> None:
    for location in (text, f"hf://{text}", f"hf://datasets/a/b@{text}", f"hf://datasets/a/b/{text}"):
        try:
            name = located(location, Path("/nowhere"), "model")
        except UserError:
            continue
        if name is not None:
            assert ".." not in str(name).split("/") and name.repo.count("/") == 1 and parse(str(name)) == name
            assert not (name.revision or "x").startswith("/") and is_inside(name.pattern or "x")


@pytest.mark.parametrize("path", ["../x", "/x", "a/../x", "a\\..\\x", "C:x", "a//b", "a/", "a\0b", "\\\\host\\x"])
def test_paths_that_leave_a_folder(path: str) -> None:
    assert not is_inside(path)


def test_a_commit_is_forty_digits() -> None:
    assert HubName("model", "a/b", COMMIT).commit == COMMIT
    assert HubName("model", "a/b", COMMIT[:7]).commit is None and HubName("model", "a/b").commit is None


def test_what_is_shown_of_a_location() -> None:
    assert short("hf://Qwen/Qwen3-8B@main") == "Qwen3-8B"
    assert short("/models/Qwen3-8B") == "Qwen3-8B"

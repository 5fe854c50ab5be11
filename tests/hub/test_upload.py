from __future__ import annotations

from pathlib import Path

import pytest

from hub import LoopbackHub, connected
from overopt.errors import UserError
from overopt.hub.upload import MARK, push, repository

TOKEN = "hf_loopback_secret"
NAME = repository("owner/mine")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    contents = {MARK: "stage: sft\n", "README.md": "card", "model.safetensors": "weights", "config.json": "{}"}
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    return {name: tmp_path / name for name in contents}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    with LoopbackHub(TOKEN) as served:
        connected(monkeypatch, served, tmp_path / "cache", TOKEN)
        yield served
    assert not served.wrong


def test_a_new_repository_is_private_and_holds_the_files(hub: LoopbackHub, files: dict[str, Path]) -> None:
    pushed = push(files, NAME, "first")
    assert hub.repositories["model", "owner/mine"].private
    there = hub.files("model", "owner/mine")
    assert {path: there[path] for path in files} == {path: file.read_bytes() for path, file in files.items()}
    assert pushed.name.revision == hub.repositories["model", "owner/mine"].refs["main"]
    assert str(pushed) == (
        f"{hub.url}/owner/mine\ncommit {pushed.name.revision}; as a parent: hf://owner/mine@{pushed.name.revision}"
    )
    push(files, repository("hf://owner/open"), "first", public=True)
    assert not hub.repositories["model", "owner/open"].private


def test_the_next_push_leaves_nothing_of_the_last(hub: LoopbackHub, files: dict[str, Path]) -> None:
    shard = files["config.json"].with_name("model-00002-of-00002.safetensors")
    shard.write_text("old")
    first = push(files | {shard.name: shard}, NAME, "first")
    second = push(files, NAME, "second")
    assert first.name != second.name
    assert hub.files("model", "owner/mine").keys() - {".gitattributes"} == files.keys()


def test_what_others_put_there_stays(hub: LoopbackHub, files: dict[str, Path]) -> None:
    hub.add("model", "owner/mine", {"model.safetensors": "precious", "README.md": "theirs"})
    with pytest.raises(UserError, match="owner/mine: holds files that were not pushed by overopt .model.safetensors."):
        push(files, NAME, "first")
    assert hub.files("model", "owner/mine")["model.safetensors"] == b"precious"
    hub.add("model", "owner/mine", {".gitattributes": "", "README.md": "empty"})
    push(files, NAME, "first")


def test_without_token_or_network_nothing_is_asked(
    hub: LoopbackHub, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "")
    with pytest.raises(UserError, match="to push, set HF_TOKEN to a token that may write"):
        push(files, NAME, "first")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="cannot be pushed while HF_HUB_OFFLINE is set"):
        push(files, NAME, "first")
    assert not hub.requests


def test_a_token_that_the_hub_refuses(
    hub: LoopbackHub, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    with pytest.raises(UserError) as refused:
        push(files, NAME, "first")
    assert "hf://owner/mine: " in str(refused.value) and "hf_of_somebody_else" not in str(refused.value)
    assert not hub.repositories


def test_a_file_that_holds_a_secret_is_not_sent(
    hub: LoopbackHub, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "planted-9f8e7d6c")
    files["config.json"].write_text('{"key": "planted-9f8e7d6c"}')
    with pytest.raises(UserError, match=r"config.json: holds the value of OPENAI_API_KEY, which must not") as refused:
        push(files, NAME, "first")
    assert "planted" not in str(refused.value)
    assert not hub.requests


@pytest.mark.parametrize("repo", ["mine", "owner/mine@v2", "hf://datasets/owner/mine", "https://huggingface.co/a/b"])
def test_where_nothing_can_be_pushed(repo: str) -> None:
    with pytest.raises(UserError):
        repository(repo)

"""The hub that the other tests use, asked by the real client."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import HfApi, HfFileSystem
from huggingface_hub.errors import HfHubHTTPError

from hub import LoopbackHub

FILES = {"config.json": "{}", "model.safetensors": "w" * 1000, "data/x.jsonl": "1\n"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path / "folder"


def test_lists_trees_and_file_systems(loopback_hub: LoopbackHub) -> None:
    commit = loopback_hub.add("dataset", "owner/data", FILES)
    loopback_hub.add("dataset", "owner/data", {"default/train/0.parquet": "x"}, "refs/convert/parquet")
    api = HfApi(endpoint=loopback_hub.url, token=False)
    info = api.dataset_info("owner/data", files_metadata=True)
    assert info.sha == commit and {s.rfilename: s.size for s in info.siblings or []} == {
        "config.json": 2, "model.safetensors": 1000, "data/x.jsonl": 2,
    }  # fmt: skip
    assert {f.path for f in api.list_repo_tree("owner/data", repo_type="dataset")} == {
        "config.json", "model.safetensors", "data",
    }  # fmt: skip
    assert [ref.name for ref in api.list_repo_refs("owner/data", repo_type="dataset").converts] == ["parquet"]
    files = HfFileSystem(endpoint=loopback_hub.url, token=False)
    assert files.read_text("datasets/owner/data/data/x.jsonl") == "1\n"
    assert files.glob("datasets/owner/data@refs/convert/parquet/**/*.parquet") == [
        "datasets/owner/data@refs/convert/parquet/default/train/0.parquet"
    ]


def test_a_folder_of_repositories(loopback_hub: LoopbackHub, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "root" / "models" / "owner").mkdir(parents=True)
    folder.rename(tmp_path / "root" / "models" / "owner" / "tiny")
    loopback_hub.add_folder(tmp_path / "root")
    assert loopback_hub.files("model", "owner/tiny") == {name: text.encode() for name, text in FILES.items()}


def test_what_is_pushed_arrives(loopback_hub: LoopbackHub, folder: Path) -> None:
    api = HfApi(endpoint=loopback_hub.url, token=loopback_hub.token)
    assert api.create_repo("me/new", private=True, exist_ok=True) == api.create_repo("me/new", exist_ok=True)
    commit = api.upload_folder(repo_id="me/new", folder_path=folder, commit_message="all").oid
    assert loopback_hub.repositories["model", "me/new"].refs["main"] == commit
    pushed = loopback_hub.files("model", "me/new")
    assert pushed == {".gitattributes": b"", **{name: text.encode() for name, text in FILES.items()}}
    assert loopback_hub.repositories["model", "me/new"].private
    api.upload_file(repo_id="me/new", path_in_repo="config.json", path_or_fileobj=b"{ }")
    assert loopback_hub.files("model", "me/new")["config.json"] == b"{ }"


def test_who_may_not_push(loopback_hub: LoopbackHub, folder: Path) -> None:
    for token in ("hf_of_nobody", False):
        with pytest.raises(HfHubHTTPError, match="401"):
            HfApi(endpoint=loopback_hub.url, token=token).create_repo("me/new")
    loopback_hub.add("model", "me/there", {"x": "y"})
    with pytest.raises(HfHubHTTPError, match="401"):
        HfApi(endpoint=loopback_hub.url, token=False).upload_folder(repo_id="me/there", folder_path=folder)
    assert loopback_hub.files("model", "me/there") == {"x": b"y"}

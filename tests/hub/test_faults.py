"""Everything that goes wrong between a Hub and its client, and what the user sees of each."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from hub import LoopbackHub
from overopt.errors import UserError
from overopt.hub.download import fetch, listing
from overopt.hub.models import model_snapshot
from overopt.hub.names import HubName

NAME = HubName("model", "owner/tiny")
FILES = {"config.json": '{"model_type": "gpt_neox"}', "tokenizer.json": "{}", "model.safetensors": "weights" * 10_000}
TOKEN = "hf_loopback"
KEPT = "what has arrived is kept, and the same command fetches the rest"


@pytest.fixture
def served(loopback_hub: LoopbackHub) -> Iterator[LoopbackHub]:
    loopback_hub.add("model", NAME.repo, FILES)
    yield loopback_hub
    assert incomplete(loopback_hub) == []


def cached(name: str = "") -> list[Path]:
    """The blobs in the cache."""
    return sorted(Path(constants.HF_HUB_CACHE).glob(f"models--owner--tiny/blobs/*{name}"))


def incomplete(hub: LoopbackHub) -> list[Path]:
    return cached(".incomplete")


def said(name: HubName = NAME) -> str:
    """What the user sees."""
    with pytest.raises(UserError) as refused:
        model_snapshot(name)
    message = str(refused.value)
    assert message.startswith(f"hf://{name.repo}") and "\n" not in message and TOKEN not in message
    return message


def whole() -> None:
    """A fault that passes costs nothing but time."""
    folder = model_snapshot(NAME)
    assert {file: (folder / file).read_text() for file in FILES} == FILES


# --- What passes by itself


@pytest.mark.parametrize(
    ("fault", "where"),
    [
        ("429 for a second", "/api/models"), ("429 for a second", "/blobs/"), ("503", "/api/models"),
        ("503", "config.json"),
        ("slow", ""), ("reset", "/api/models"), ("reset", "/blobs/"), ("cut", "/blobs/"),
    ],
)  # fmt: skip
def test_a_fault_that_passes(served: LoopbackHub, fault: str, where: str) -> None:
    served.fail(fault, where, times=2)
    whole()
    assert served.faults[0].times == 0
    if (fault, where) == ("429 for a second", "/blobs/"):
        assert served.waits == [2.0, 2.0]  # as long as the Hub asked for, and one second more


def test_a_connection_cut_in_the_middle_of_a_file_goes_on_there(
    served: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # else 10 MB, more than this file has
    served.fail("cut", "/blobs/", times=1)
    whole()
    size = len(FILES["model.safetensors"])
    asked = [request.range for request in served.requests if request.on_cdn]
    assert asked == [None, f"bytes={size // 2}-"]


def test_the_redirect_to_another_host_takes_no_token_along(
    loopback_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    loopback_hub.add("model", NAME.repo, FILES, gated=True)
    whole()
    tokens = {(request.on_cdn, request.token) for request in loopback_hub.requests}
    assert tokens == {(False, TOKEN), (True, None)}


# --- What does not


@pytest.mark.parametrize(
    ("fault", "where", "seen"),
    [
        ("404", "/resolve/", "the Hub lists a file that it does not have; try again later"),
        ("429 for an hour", "/api/models", "the Hub asks for fewer requests (429"),
        ("503", "/api/models", f"the Hub has a fault of its own (503); try again later: {KEPT}"),
        ("500", "config.json", f"the Hub has a fault of its own (500); try again later: {KEPT}"),
        ("500", "/blobs/", f"the Hub has a fault of its own (500); try again later: {KEPT}"),
        ("reset", "/api/models", f"broke or could not be made; {KEPT}"),
        ("reset", "/blobs/", f"broke or could not be made; {KEPT}"),
        ("cut", "config.json", f"broke or could not be made; {KEPT}"),
        ("HTML", "/api/models", "is no Hub; check HF_ENDPOINT, a proxy, or a network's sign-in"),
        ("HTML", "config.json", "is no Hub; check HF_ENDPOINT, a proxy, or a network's sign-in"),
        ("wrong hash", "/blobs/", "model.safetensors is damaged: its content has another hash than the Hub lists"),
        ("wrong hash", "config.json", "config.json is damaged: its content has another hash than the Hub lists"),
    ],
)
def test_a_fault_that_stays_and_the_same_command_once_it_is_over(
    served: LoopbackHub, fault: str, where: str, seen: str
) -> None:
    served.fail(fault, where)
    assert seen in said()
    served.faults.clear()
    whole()


def test_a_hub_that_does_not_answer(served: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overopt.hub.download.TIMEOUT", 0.1)
    served.stall = 0.3
    served.fail("no reply", "/api/models")
    assert "broke or could not be made" in said()


def test_no_hub_at_all(monkeypatch: pytest.MonkeyPatch, loopback_hub: LoopbackHub) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "the connection to http://127.0.0.1:9 broke or could not be made" in said()


def test_a_repository_that_does_not_exist(served: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = HubName("model", "owner/nothing")
    assert "no model of this name is on the Hub" in said(nothing) and "set HF_TOKEN" in said(nothing)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert "use a token of an account that has access (the one in HF_TOKEN has none)" in said(nothing)


def test_a_revision_that_does_not_exist(served: LoopbackHub) -> None:
    assert said(NAME.at("v9")) == (
        f"hf://owner/tiny@v9: has no revision 'v9'; {served.url}/owner/tiny/tree/main lists its branches and tags"
    )
    assert "has no revision '1111111" in said(NAME.at("1" * 40))


def test_a_gated_model(loopback_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    loopback_hub.add("model", NAME.repo, FILES, gated=True)
    page = f"{loopback_hub.url}/owner/tiny"
    assert f"access to this model must be granted: accept its conditions at {page}, and set HF_TOKEN to" in said()
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    assert "the Hub refuses the token in HF_TOKEN; make a new one" in said()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    loopback_hub.fail("403 gated", "/resolve/", times=1)
    assert "use a token of an account that has access (the one in HF_TOKEN has none)" in said()
    whole()


def test_a_private_model(loopback_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    loopback_hub.add("model", NAME.repo, FILES, private=True)
    assert "no model of this name is on the Hub" in said()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    whole()


def test_a_token_that_was_saved_is_not_used(loopback_hub: LoopbackHub, tmp_path: Path) -> None:
    """Only the environment gives tokens."""
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text(TOKEN)
    loopback_hub.add("model", NAME.repo, FILES, gated=True)
    assert "set HF_TOKEN to a token of an account that has access (it is not set)" in said()


# --- The cache


def test_a_full_disk_is_known_before_anything_is_fetched(
    served: LoopbackHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = SimpleNamespace(free=50_000)
    monkeypatch.setattr("overopt.hub.download.shutil", SimpleNamespace(disk_usage=lambda path: usage))
    monkeypatch.setattr("overopt.hub.download.GB", 1000)
    assert f"needs 70.0 GB in {tmp_path}/hf/hub, where 50.0 GB are free; make room" in said()
    assert served.asked("/blobs/") == 0


def test_a_disk_that_fills_up_meanwhile(served: LoopbackHub) -> None:
    """The system lets no file of this process grow beyond half of the weights."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(FILES["model.safetensors"]) // 2, before[1]))
    try:
        message = said()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "the disk of the cache (" in message and "is full; make room" in message
    whole()


def test_a_cache_that_cannot_be_written(served: LoopbackHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    assert "the cache (" in (message := said()) and "cannot be written; set HF_HOME to a folder of your own" in message


def test_half_a_download(served: LoopbackHub) -> None:
    """A process that is killed in the middle of the weights: the same command fetches what is missing."""
    served.fail("slow stream", "/blobs/", times=1)
    program = "from overopt.hub.models import model_snapshot as m; from overopt.hub.names import parse as p; m(p('{}'))"
    environment = {**os.environ, **served.environment(Path(constants.HF_HOME)), "PYTHONPATH": os.pathsep.join(sys.path)}
    environment["HF_HUB_DOWNLOAD_TIMEOUT"] = "60"
    served.stall = 60.0
    command = [sys.executable, "-c", program.format(NAME)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        while not (incomplete(served) and served.asked("/blobs/")):
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    served.stall = 0.0
    assert len(cached()) == 3  # two whole files, and a part
    asked = served.asked("config.json")
    whole()
    assert served.asked("config.json") == asked
    for part in incomplete(served):  # the library leaves it, and `hf cache prune` removes it
        part.unlink()


def test_a_damaged_copy_in_the_cache_is_found_and_removed(served: LoopbackHub) -> None:
    folder = model_snapshot(NAME)
    (folder / "tokenizer.json").resolve().write_text("[]")
    assert "tokenizer.json is damaged" in said()
    whole()


def test_what_lies_outside_the_folder_is_refused(loopback_hub: LoopbackHub, tmp_path: Path) -> None:
    for path in ("../../../../escaped.json", "/etc/escaped.json", "a/../../escaped.json", "..\\escaped.json"):
        loopback_hub.add("model", NAME.repo, {**FILES, path: "x"})
        assert f"lists a file outside its folder ({path!r}); nothing of it was fetched" in said()
    assert loopback_hub.asked("/resolve/") == 0 and not list(tmp_path.rglob("*escaped*"))


# --- Without network


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def test_offline_with_a_whole_copy(
    served: LoopbackHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole()
    commit = listing(NAME).name.revision or ""
    offline(monkeypatch)
    asked = len(served.requests)
    whole()
    assert model_snapshot(NAME.at(commit)).name == commit and len(served.requests) == asked
    notice = f"hf://owner/tiny: its copy in the cache is used, commit {commit[:7]} (HF_HUB_OFFLINE is set)"
    assert notice in capsys.readouterr().err


def test_offline_without_a_copy(served: LoopbackHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    offline(monkeypatch)
    cache = tmp_path / "hf" / "hub"
    assert said(NAME.at("v1")) == (
        f"hf://owner/tiny@v1: HF_HUB_OFFLINE is set, and the cache ({cache}) lacks it; where there is a network: "
        "hf download owner/tiny --revision v1"
    )
    data = HubName("dataset", "owner/data", None, "data/*.parquet")
    with pytest.raises(UserError) as refused:
        listing(data)
    assert str(refused.value).endswith("hf download owner/data --repo-type dataset --include 'data/*.parquet'")


def test_offline_with_a_part(served: LoopbackHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commit = model_snapshot(NAME, "tokenizer").name
    offline(monkeypatch)
    assert model_snapshot(NAME, "tokenizer").name == commit
    assert f"({tmp_path / 'hf' / 'hub'}) lacks model.safetensors; where there is a network: hf download" in said()


def test_a_hub_that_fails_while_a_whole_copy_is_there(served: LoopbackHub, capsys: pytest.CaptureFixture[str]) -> None:
    whole()
    served.fail("503")
    whole()
    assert "its copy in the cache is used" in (told := capsys.readouterr().err) and "(503)" in told
    assert sum(served.waits) <= 2  # nobody waits long for what is here


def test_an_old_cache_without_lists(served: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """As versions of the library before 2.0 leave it."""
    monkeypatch.setattr("huggingface_hub.get_cached_repo_tree", None)
    folder = fetch(listing(NAME), list(FILES))
    offline(monkeypatch)
    assert model_snapshot(NAME) == folder
    (folder / "model.safetensors").unlink()
    assert "lacks parts of it; where there is a network: hf download" in said()

"""Requests that fail, against a server on this machine that fails in each way."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
import tiny_models
from vllm_server import FAULTS, VLLMServer

from overopt.errors import UserError
from overopt.vllm import server as module
from overopt.vllm.server import Server, ServerError, base_url


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_models.tiny_policy("llama").save(folder)
    return folder


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(module, "LONGEST_DELAY", 0.02)


def connected(url: str, patience: float = 5.0, timeout: float = 1.0) -> tuple[Server, list[str]]:
    notices: list[str] = []
    return Server(url, timeout, patience, notices.append), notices


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_tried_again_and_said_once(folder: Path, fault: str) -> None:
    def twice(path: str, time: int) -> str | None:
        return fault if time <= 2 else None

    with VLLMServer(folder, twice) as stub:
        server, notices = connected(stub.url)
        assert server.get("/version") == {"version": "0.32.0"}
        assert stub.asked["/version"] == 3
        assert len(notices) == 1 and stub.url in notices[0]


def test_internal_errors_are_no_passing_fault_for_ever(folder: Path) -> None:
    with VLLMServer(folder, lambda path, time: "500") as stub:
        server, _ = connected(stub.url, patience=60)
        with pytest.raises(
            UserError, match=r"6 tries .* HTTP 500 from /version: EngineCore encountered .*continues it"
        ):
            server.get("/version")
        assert stub.asked["/version"] == 6


def test_a_server_that_is_gone_ends_patience() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        server, notices = connected(f"http://127.0.0.1:{taken.getsockname()[1]}", patience=0.2)
        began = time.monotonic()
        with pytest.raises(UserError, match=r"nothing listens there .*the same command continues it"):
            server.get("/version")
        assert 0.2 <= time.monotonic() - began < 2
        assert len(notices) == 1


def test_what_the_server_refuses_is_not_asked_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    with VLLMServer(folder, key="a secret of the server") as stub:
        server, notices = connected(stub.url)
        with pytest.raises(ServerError, match="HTTP 401 .*set VLLM_API_KEY") as refused:
            server.get("/v1/models")
        assert not refused.value.passing and stub.asked["/v1/models"] == 1 and not notices
        with pytest.raises(ServerError, match="HTTP 404 from /nowhere: Not Found"):
            server.get("/nowhere")
        monkeypatch.setenv("VLLM_API_KEY", "a secret of the server")
        assert server.get("/v1/models")["data"][0]["id"] == str(folder)


def test_work_in_parallel_comes_back_in_order_and_the_first_error_ends_it() -> None:
    server, _ = connected("http://localhost:1")
    assert server.in_parallel(lambda i: i * i, 50, 7) == [i * i for i in range(50)]
    assert server.in_parallel(lambda i: i, 0, 7) == []
    done = []

    def work(i: int) -> int:
        if i == 5:
            raise ServerError("no", passing=False)
        time.sleep(0.01)
        done.append(i)
        return i

    with pytest.raises(ServerError, match="no"):
        server.in_parallel(work, 1000, 4)
    time.sleep(0.05)
    assert len(done) < 20


def test_an_address_is_one_without_v1() -> None:
    assert base_url("http://node-3:8000/v1/") == "http://node-3:8000" == base_url("http://node-3:8000")
    with pytest.raises(ValueError, match="such as http://localhost:8000"):
        base_url("node-3:8000")


def test_an_act_counts_as_done_if_vllm_says_so(folder: Path) -> None:
    with VLLMServer(folder, lambda path, time: "HTML" if (path, time) == ("/resume", 1) else None) as stub:
        server, _ = connected(stub.url)
        with pytest.raises(ServerError, match="none of vLLM's: '<html>") as refused:  # a proxy's page, with status 200
            server.post("/resume")
        assert refused.value.passing
        server.post("/resume")
        stub.answer = lambda *request: (200, {"success": False})  # type: ignore[method-assign]
        with pytest.raises(ServerError, match="/resume answers that it failed"):
            server.post("/resume")
        stub.answer = lambda *request: (200, "Success: LoRA adapter 'v1' added successfully.")  # type: ignore[method-assign]
        server.post("/v1/load_lora_adapter", {})

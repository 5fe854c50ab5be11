"""The group's calls, on a library that notes them. There is no GPU here: what NCCL does is not tested."""

from __future__ import annotations

import base64
import ctypes
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from overopt.errors import UserError
from overopt.vllm import nccl
from overopt.vllm.server import ServerError


class Noting:
    """NCCL, as far as it is called: notes what, and succeeds unless told otherwise."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.status = 0

    def ncclGetUniqueId(self, place: Any) -> int:
        ctypes.memmove(place, bytes(range(128)), 128)
        return 0

    def ncclCommInitRank(self, place: Any, size: int, unique: Any, rank: int) -> int:
        ctypes.cast(place, ctypes.POINTER(ctypes.c_void_p))[0] = 77
        self.calls.append(("join", size, bytes(unique)[:3], rank))
        return self.status

    def ncclAllReduce(self, source: int, target: int, count: int, kind: int, op: int, group: Any, stream: int) -> int:
        self.calls.append(("sum", source == target, count, kind, op, group.value, stream))
        return 0

    def ncclBroadcast(self, source: int, target: int, count: int, kind: int, root: int, group: Any, stream: int) -> int:
        self.calls.append(("broadcast", source, count, kind, root, group.value, stream))
        return self.status

    def ncclCommAbort(self, group: Any) -> int:
        self.calls.append(("abort", group.value))
        return 0

    def ncclGetErrorString(self, status: int) -> bytes:
        return b"remote process exited"


class Stream:
    cuda_stream = 5

    def __init__(self, device: Any = None) -> None:
        pass

    def synchronize(self) -> None:
        pass

    def wait_stream(self, other: Any) -> None:
        pass

    def query(self) -> bool:
        return True


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Noting:
    noting = Noting()
    monkeypatch.setattr(nccl, "library", lambda: noting)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda self, stream: None)
    return noting


def test_a_group_joins_sums_one_number_and_broadcasts(library: Noting) -> None:
    group = nccl.Group(torch.device("cpu"), 3)
    assert base64.b64decode(group.unique_id) == bytes(range(128))
    group.join()
    group.check()
    tensor = torch.zeros(2, 3, dtype=torch.bfloat16)
    group.broadcast(tensor)
    assert group.idle()
    group.abort()
    group.abort()  # once is enough
    assert library.calls == [
        ("join", 3, b"\x00\x01\x02", 0),
        ("sum", True, 1, 7, 0, 77, 5),
        ("broadcast", tensor.data_ptr(), 6, 9, 0, 77, 5),
        ("abort", 77),
    ]


def test_what_nccl_says_is_an_error_that_may_pass(library: Noting) -> None:
    group = nccl.Group(torch.device("cpu"), 2)
    library.status = 6
    group.join()
    with pytest.raises(ServerError, match="NCCL: remote process exited .*one version of NCCL") as broken:
        group.check()
    assert broken.value.passing
    with pytest.raises(ServerError, match="remote process exited"):
        group.broadcast(torch.zeros(1))


def test_without_nccl_the_user_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nccl, "LIBRARY", "libnccl-that-does-not-exist.so")
    nccl.library.cache_clear()
    with pytest.raises(UserError, match="nccl needs a torch with NCCL"):
        nccl.check()

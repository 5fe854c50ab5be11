"""A group of the trainer's GPU and a server's, by NCCL's own interface.

Reason: torch.distributed groups only its own processes, and `torch.cuda.nccl.init_rank` fails on Python 3.10 and
later (PyTorch issue 38019). The server's workers join by the group's id, sum one number, then receive by broadcast.
"""

from __future__ import annotations

import base64
import ctypes
from functools import cache
from typing import Any

import torch
from torch import Tensor

from overopt.errors import UserError
from overopt.vllm.server import ServerError

LIBRARY = "libnccl.so.2"
"""Found by this name once torch has loaded it."""
TYPES = {
    torch.int8: 0, torch.uint8: 1, torch.int32: 2, torch.int64: 4, torch.float16: 6, torch.float32: 7,
    torch.float64: 8, torch.bfloat16: 9,
}  # fmt: skip
"""`ncclDataType_t`."""
SUM = 0
"""`ncclSum`."""


class UniqueId(ctypes.Structure):
    """`ncclUniqueId`: what the members of a group know of it beforehand."""

    _fields_ = (("internal", ctypes.c_byte * 128),)


@cache
def library() -> Any:
    """Return NCCL, with the types of the functions that are used here; OSError if there is none."""
    found = ctypes.CDLL(LIBRARY)
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    found.ncclGetErrorString.restype = ctypes.c_char_p
    found.ncclCommInitRank.argtypes = [ctypes.POINTER(pointer), ctypes.c_int, UniqueId, ctypes.c_int]
    found.ncclAllReduce.argtypes = [pointer, pointer, size, ctypes.c_int, ctypes.c_int, pointer, pointer]
    found.ncclBroadcast.argtypes = [pointer, pointer, size, ctypes.c_int, ctypes.c_int, pointer, pointer]
    found.ncclCommAbort.argtypes = [pointer]
    return found


def check() -> None:
    """Raise UserError if this machine has no NCCL."""
    try:
        library()
    except OSError as error:
        raise UserError(f"sampler.transfer: nccl needs a torch with NCCL ({error})") from error


def _succeed(status: int) -> None:
    """Raise ServerError for a status of failure: the other side is gone, or of another version."""
    if status:
        said = library().ncclGetErrorString(status).decode()
        raise ServerError(f"NCCL: {said} (both sides need one version of NCCL)", passing=True)


class Group:
    """One group, in which this process is rank 0. Operations are queued on a stream of its own."""

    def __init__(self, device: torch.device, size: int) -> None:
        self.device, self.size = device, size
        self.communicator = ctypes.c_void_p()
        self.error: BaseException | None = None
        self.id = UniqueId()
        _succeed(library().ncclGetUniqueId(ctypes.byref(self.id)))
        self.stream = torch.cuda.Stream(device)

    @property
    def unique_id(self) -> str:
        """The group's id in base64, for the others to join."""
        return base64.b64encode(bytes(self.id)).decode()

    def join(self) -> None:
        """Wait for all members, then sum one number, as vLLM's do when they join; `check` raises what went wrong."""
        try:
            with torch.cuda.device(self.device):
                address = ctypes.byref(self.communicator)
                _succeed(library().ncclCommInitRank(address, self.size, self.id, 0))
                one = torch.zeros(1, device=self.device)
                torch.cuda.current_stream().synchronize()
                place = one.data_ptr()
                _succeed(
                    library().ncclAllReduce(place, place, 1, TYPES[one.dtype], SUM, self.communicator, self._queue)
                )
                self.stream.synchronize()
        except BaseException as error:
            self.error = error

    def check(self) -> None:
        """Raise what went wrong while joining."""
        if self.error is not None:
            raise self.error

    def broadcast(self, tensor: Tensor) -> None:
        """Queue a tensor for all members, after what was computed so far."""
        tensor = tensor.detach().contiguous()
        with torch.cuda.device(self.device):
            self.stream.wait_stream(torch.cuda.current_stream())
            tensor.record_stream(self.stream)
            place = tensor.data_ptr()
            kind = TYPES[tensor.dtype]
            _succeed(library().ncclBroadcast(place, place, tensor.numel(), kind, 0, self.communicator, self._queue))

    def idle(self) -> bool:
        """Whether all that was queued is done."""
        return bool(self.stream.query())

    def abort(self) -> None:
        """Leave without waiting for the others, who may be gone."""
        if self.communicator:
            library().ncclCommAbort(self.communicator)
        self.communicator = ctypes.c_void_p()

    @property
    def _queue(self) -> int:
        return int(self.stream.cuda_stream)

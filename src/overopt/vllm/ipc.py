"""Handles by which another process on this machine finds tensors in a GPU's memory."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def handles(tensors: Sequence[Tensor]) -> str:
    """Return what vLLM reads as `ipc_handles_pickled`: for each tensor its GPU's id and how it is rebuilt.

    The tensors must live until the server has read them.
    """
    found = [{gpu_id(tensor): handle(tensor)} for tensor in tensors]
    return base64.b64encode(pickle.dumps(found)).decode()


def gpu_id(tensor: Tensor) -> str:
    """Return the hardware's own id of the GPU, since each process counts GPUs as it likes."""
    return str(torch.cuda.get_device_properties(tensor.device).uuid)


def handle(tensor: Tensor) -> Any:
    """Return the arguments of torch's `rebuild_cuda_tensor`."""
    from torch.multiprocessing.reductions import reduce_tensor

    return reduce_tensor(tensor)[1]

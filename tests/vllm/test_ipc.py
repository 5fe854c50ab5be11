"""Handles of tensors, as vLLM reads them. There is no GPU here: torch's own handles are stood in for."""

from __future__ import annotations

import base64
import pickle

import pytest
import torch

from overopt.vllm import ipc


def test_handles_are_a_list_of_one_entry_per_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipc, "gpu_id", lambda tensor: "GPU-5c")
    monkeypatch.setattr(ipc, "handle", lambda tensor: (torch.Tensor, tuple(tensor.shape), 6))
    text = ipc.handles([torch.zeros(2, 3), torch.zeros(4)])
    assert pickle.loads(base64.b64decode(text)) == [
        {"GPU-5c": (torch.Tensor, (2, 3), 6)},
        {"GPU-5c": (torch.Tensor, (4,), 6)},
    ]


def test_a_handle_is_what_torch_rebuilds_a_tensor_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM sets the device, the seventh argument, and calls `rebuild_cuda_tensor` itself."""
    from torch.multiprocessing import reductions

    monkeypatch.setattr(reductions, "reduce_tensor", lambda tensor: ("rebuild", (1, 2, 3, 4, 5, 6, 0, 8)))
    assert ipc.handle(torch.zeros(1)) == (1, 2, 3, 4, 5, 6, 0, 8)

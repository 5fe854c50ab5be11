"""The peak memory of a computation, counted from the tensors that it creates and frees.

On meta tensors nothing is computed and nothing takes memory, so a step of any model can be measured anywhere. Memory
that an operation uses only while it runs is not seen.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(work: Callable[[], Any]) -> int:
    """The most bytes held at one time by tensors created during `work`."""
    with _Counter() as counter:
        work()
    return counter.peak


class _Counter(TorchDispatchMode):
    """Sees every operation, and by weak references when the memory of its results is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.known: dict[int, Any] = {}
        """A weak reference to each live storage, by its address."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for storage in _storages((args, kwargs)):  # existing storages do not count
            self._meet(storage, 0)
        result = func(*args, **(kwargs or {}))
        for storage in _storages(result):
            self._meet(storage, storage.nbytes())
        self.peak = max(self.peak, self.live)
        return result

    def _meet(self, storage: torch.UntypedStorage, size: int) -> None:
        address = storage._cdata
        if address not in self.known:
            self.live += size
            self.known[address] = weakref.ref(storage, partial(self._gone, address, size))

    def _gone(self, address: int, size: int, _: Any) -> None:
        self.live -= size
        del self.known[address]


def _storages(values: Any) -> Iterator[torch.UntypedStorage]:
    return (value.untyped_storage() for value in tree_leaves(values) if isinstance(value, torch.Tensor))

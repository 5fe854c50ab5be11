"""How much memory work takes at most, counted from the tensors that it makes and lets go.

On meta tensors nothing is computed and nothing takes memory, so a step of any model can be counted anywhere. What an
operation needs only while it runs is not seen.
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
    """The most bytes that tensors made during `work` hold at a time; those from before do not count."""
    with _Counter() as counter:
        work()
    return counter.peak


class _Counter(TorchDispatchMode):
    """Sees every operation, and by weak references when the memory of its results is given back."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.known: dict[int, Any] = {}
        """A weak reference to every memory that is alive, by its address."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for storage in _storages((args, kwargs)):  # a view of what was there before is no new memory
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

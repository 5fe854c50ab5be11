"""The processes that train one run together, started by torchrun; a process that was started alone is the only one.

All of them go through the same steps with the same numbers. What takes time (sampling, forward and backward passes) is
divided over prompts, and its results are gathered by all. So everything else (advantages, losses that couple a batch,
controllers, stop conditions) is computed alike everywhere and need not know of processes. Only the main one writes.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from overopt.errors import UserError

T = TypeVar("T")

BUCKET = 25 << 20
"""Bytes of gradients that are summed at a time."""
PATIENCE = timedelta(hours=2)
"""How long a process waits for the others: the main one may be hashing models or reading a large data set."""


def count() -> int:
    """The number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def several() -> bool:
    return count() > 1


def rank() -> int:
    """This process's number, from 0; known before and after they are joined, too."""
    if several():
        return dist.get_rank()
    return int(os.environ.get("RANK", "0")) if _launched() > 1 else 0


def _launched() -> int:
    """How many processes torchrun started."""
    count = os.environ.get("WORLD_SIZE", "")
    return int(count) if count.isdecimal() else 1


def is_main() -> bool:
    """Whether this process is the one that writes and speaks."""
    return rank() == 0


@contextmanager
def joined() -> Iterator[None]:
    """Join the processes that torchrun started with this one, until the block ends; nothing if there are none."""
    if _launched() < 2 or several():
        yield
        return
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        dist.init_process_group(backend, timeout=PATIENCE)
    except Exception as error:  # of the store, of the network, or of a variable that is missing
        raise UserError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but the processes do not find each other ({error}); start them "
            "by torchrun --nproc-per-node N -m overopt train CONFIG, or unset WORLD_SIZE"
        ) from error
    try:
        yield
    finally:
        dist.destroy_process_group()


def share(items: Sequence[T]) -> Sequence[T]:
    """This process's part of some items: consecutive ones, as many as another's or one more."""
    if not several():
        return items
    n, mine = count(), rank()
    return [items[i] for i in range(len(items) * mine // n, len(items) * (mine + 1) // n)]


_alone: list[bool] = []
"""Not empty while the main process works alone: the others wait, so it must not wait for them."""


def gather(value: T) -> list[T]:
    """The value of every process, in the order of their numbers. Tensors in it must be on the CPU."""
    if not several():
        return [value]
    _check_together()
    values: list[Any] = [None] * count()
    dist.all_gather_object(values, value)
    return cast("list[T]", values)


def concatenated(own: Sequence[T]) -> list[T]:
    """The items of all processes, in the order of their numbers: what `share` has divided, put together."""
    return [item for items in gather(list(own)) for item in items]


def gathered_rows(own: Tensor) -> Tensor:
    """Rows of all processes, in the order of their numbers, on this one's device; all but the first size are equal."""
    return own if not several() else torch.cat(gather(own.detach().cpu())).to(own.device)


def total(value: float) -> float:
    """The sum of a number over all processes."""
    return sum(gather(value))


def on_main(work: Callable[[], T]) -> T:
    """The result of work that the main process alone does, or its error, in every process."""
    if not several():
        return work()
    _check_together()
    outcome: list[Any] = [None, None]
    if is_main():
        _alone.append(True)
        try:
            outcome[0] = work()
        except Exception as error:
            outcome[1] = _sendable(error)
        finally:
            _alone.pop()
    dist.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise outcome[1]
    return cast("T", outcome[0])


def _check_together() -> None:
    if _alone:
        raise RuntimeError("what the main process does alone asks for the other processes, which wait for it")


def _sendable(error: Exception) -> Exception:
    """The error, or its words where it cannot be sent to another process."""
    try:
        pickle.loads(pickle.dumps(error))  # our own bytes
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def sum_gradients(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Replace each gradient by its sum over all processes; a process that has none counts as 0.

    Losses are divided by the sizes of the whole batch, so the sum is the gradient of its mean.
    """
    if not several():
        return
    bucket: list[Tensor] = []
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        bucket.append(parameter.grad)
        if sum(grad.nbytes for grad in bucket) >= BUCKET:
            _sum(bucket)
            bucket = []
    if bucket:
        _sum(bucket)


def _sum(grads: Sequence[Tensor]) -> None:
    flat = torch.cat([grad.flatten() for grad in grads])
    dist.all_reduce(flat, dist.ReduceOp.SUM)
    for grad, part in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
        grad.copy_(part.view_as(grad))

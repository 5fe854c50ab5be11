"""Calls to the user's functions and classes: errors name them, and global state that they changed is restored."""

from __future__ import annotations

import functools
import inspect
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from overopt.errors import StoppedError, UserError

_PACKAGE = Path(__file__).parents[1]
_GUARDED = "_overopt_guarded"

Switch = tuple[Callable[[], Any], Callable[[Any], Any]]


@contextmanager
def calling_user_code(who: str) -> Iterator[None]:
    """Run the user's code. Whatever it raises, `sys.exit` included, becomes a UserError that names `who`.

    Ctrl-C, SIGTERM and out of memory, which smaller batches may cure, pass unchanged. The working directory, signal
    handlers and torch's global switches are restored afterwards; random streams are not: user code may draw from them.
    """
    before = [(read, write, read()) for read, write in _switches()]
    try:
        yield
    except (UserError, StoppedError, KeyboardInterrupt):
        raise
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        if _lacks_memory(error) or (isinstance(error, SystemExit) and _PACKAGE in Path(place.filename).parents):
            raise
        what = f"{type(error).__name__}: {error} ({place.filename}, line {place.lineno})"
        raise UserError(f"{who} raised {what}") from error
    finally:
        for read, write, value in before:
            if read() != value:
                write(value)


def guard_methods(cls: type) -> type:
    """Wrap the public methods of a user's class in `calling_user_code`; return the class."""
    name = f"{cls.__module__}:{cls.__qualname__}".removeprefix("overopt plug-in ")
    for base in cls.__mro__:
        if base.__module__ == cls.__module__ and _GUARDED not in vars(base):
            setattr(base, _GUARDED, True)
            for key, method in list(vars(base).items()):
                if inspect.isfunction(method) and (key == "__call__" or not key.startswith("_")):
                    setattr(base, key, _guarded(method, name))
    return cls


def _guarded(method: Callable[..., Any], who: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def run(*arguments: Any, **named: Any) -> Any:
        with calling_user_code(who):
            result = method(*arguments, **named)
        return _drawn(result, who) if inspect.isgenerator(result) else result

    return run


def _drawn(generator: Iterator[Any], who: str) -> Iterator[Any]:
    """Yield from a generator, whose code runs only now, item by item."""
    end = object()
    while True:
        with calling_user_code(who):
            item = next(generator, end)
        if item is end:
            return
        yield item


def _lacks_memory(error: BaseException) -> bool:
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or "can't allocate memory" in str(error)


def _switches() -> list[Switch]:
    """Return (read, write) functions of the global state that user code may leave changed."""
    switches: list[Switch] = [(_working_directory, os.chdir)]
    if threading.current_thread() is threading.main_thread():
        switches += [
            (functools.partial(signal.getsignal, number), functools.partial(signal.signal, number))
            for number in (signal.SIGINT, signal.SIGTERM)
        ]
    torch: Any = sys.modules.get("torch")  # not imported here; its state cannot have changed if nobody imported it
    if torch is not None and hasattr(torch, "get_default_device"):
        switches += [
            (torch.is_inference_mode_enabled, _set_inference_mode),  # first: it changes whether gradients are on
            (torch.is_grad_enabled, torch.set_grad_enabled),
            (torch.get_default_dtype, torch.set_default_dtype),
            (
                torch.get_default_device,
                lambda device: torch.set_default_device(None if device.type == "cpu" else device),
            ),
            (torch.get_num_threads, torch.set_num_threads),
            (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
            (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
            *(
                (
                    functools.partial(torch.is_autocast_enabled, kind),
                    functools.partial(torch.set_autocast_enabled, kind),
                )
                for kind in ("cpu", "cuda")
            ),
        ]
    return switches


def _set_inference_mode(on: bool) -> None:
    guard = sys.modules["torch"].inference_mode(on)
    guard.__enter__()
    _guards.append(guard)


_guards: list[Any] = []
"""Guards of inference mode, kept because the mode ends when its guard is freed."""


def _working_directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # removed meanwhile
        return "."

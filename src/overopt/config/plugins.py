"""Classes and functions from outside the package, named `my_module:MyLoss` or `folder/my_module.py:MyLoss`."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic.dataclasses import is_pydantic_dataclass

from overopt.config.imported_files import imported_files
from overopt.config.messages import did_you_mean

_PREFIX = "overopt plug-in "


def is_block(cls: Any) -> bool:
    """Whether `cls` is a class that `overopt.config.block` made."""
    return isinstance(cls, type) and is_pydantic_dataclass(cls)


def located(name: str, folder: Path) -> str:
    """Return `my_module:MyLoss` as `/folder/my_module.py:MyLoss` if that file exists; make file names absolute."""
    module_name, _, class_name = name.rpartition(":")
    written_as_file = module_name.endswith(".py")
    file = os.path.expanduser(module_name) if written_as_file else module_name.replace(".", "/") + ".py"
    path = os.path.normpath(os.path.join(folder, file))
    return f"{path}:{class_name}" if written_as_file or os.path.isfile(path) else name


def find(name: str) -> type:
    """Return the class of a located name; LookupError says what is missing."""
    module = module_of(name)
    cls: Any = getattr(module, name.rpartition(":")[2], None)
    if cls is None:
        raise LookupError(_absent(name, "class", module, is_block))
    if not is_block(cls):
        raise LookupError(f"{name!r} is not decorated with @overopt.config.block")
    found: type = cls
    return found


def find_function(name: str) -> Callable[..., Any]:
    """Return the function `fn(prompts, completions, **columns)` of a located name; LookupError says what is missing."""
    if ":" not in name:
        raise LookupError(f"expected a function as my_module:fn, got {name!r}")
    module = module_of(name)
    function: Any = getattr(module, name.rpartition(":")[2], None)
    if function is None:
        raise LookupError(_absent(name, "function", module, inspect.isfunction))
    if not callable(function):
        raise LookupError(f"{name!r} is no function, but {type(function).__name__}")
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.POSITIONAL_ONLY and p.default is p.empty for p in parameters):
        raise LookupError(f"{name!r} must take (prompts, completions, **columns) by name; it takes some by place only")
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        raise LookupError(f"{name!r} must take (prompts, completions, **columns); it lacks **columns")
    found: Callable[..., Any] = function
    return found


def required_columns(name: str) -> set[str]:
    """Return the columns that are required parameters of a function."""
    parameters = inspect.signature(find_function(name)).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    named = {p.name for p in parameters if p.kind in kinds and p.default is p.empty}
    return named - {"prompts", "completions"}


def module_of(name: str) -> ModuleType:
    module_name = name.rpartition(":")[0]
    try:
        module = _from_file(module_name) if module_name.endswith(".py") else importlib.import_module(module_name)
        if module_name not in _loaded:
            _loaded[module_name] = {str(file): _stamp(str(file)) for file in imported_files(module).values()}
        return module
    except Exception as error:  # importing the user's file may raise anything
        raise LookupError(f"cannot load {module_name!r}: {type(error).__name__}: {error}") from error


def _absent(name: str, what: str, module: ModuleType, fits: Callable[[Any], bool]) -> str:
    module_name, _, wanted = name.rpartition(":")
    valid = [key for key, value in vars(module).items() if fits(value) and not key.startswith("_")]
    return f"{module_name!r} has no {what} {wanted!r} ({did_you_mean(wanted, valid)})"


def file_of(cls: type) -> str | None:
    """Return the file that `find` loaded the class from, or None if it came from an importable module."""
    return cls.__module__.removeprefix(_PREFIX) if cls.__module__.startswith(_PREFIX) else None


def forget_edited() -> None:
    """Forget plug-ins of which a file, or a file that they import, was edited since they were loaded.

    So the code that runs is the code that the record hashes, also in a notebook.
    """
    for plug_in, files in list(_loaded.items()):
        if any(_stamp(path) != stamp for path, stamp in files.items()):
            for name, module in list(sys.modules.items()):
                if getattr(module, "__file__", None) in files:
                    del sys.modules[name]
            _from_file.cache_clear()
            importlib.invalidate_caches()
            del _loaded[plug_in]


_loaded: dict[str, dict[str, tuple[int, ...] | None]] = {}
"""The user's files of each loaded module, with inode, size and time of change."""


def _stamp(path: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


@functools.cache
def _from_file(path: str) -> ModuleType:
    module_name = _PREFIX + path  # not importable, so it shadows nothing
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ImportError("not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # pydantic resolves annotations there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    return module

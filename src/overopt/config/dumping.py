"""Objects to plain trees and YAML."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from overopt.addresses import flatten
from overopt.config import plugins, yaml12
from overopt.config.blocks import (
    adapter,
    field_annotation,
    fields_of,
    is_choice,
    is_function,
    item_annotation,
    name_of,
    stage_of,
    union_members,
    unwrap,
)
from overopt.config.imported_files import Files, imported_files
from overopt.config.locations import location_mark, written
from overopt.config.plugins import is_block


def dump(obj: Any, relative_to: Path | None = None) -> dict[str, Any]:
    """Turn an object into a plain tree of all fields that `load` reads back; locations relative to a folder if given.

    A class variable `stage` becomes the first key.
    """
    return dict(plain(obj, type(obj), relative_to))


def save(obj: Any, path: Path) -> None:
    """Write an object as YAML; `load` rebuilds it from there in any working directory."""
    path.write_text(to_yaml(obj, path.parent), encoding="utf-8")


def to_yaml(obj: Any, relative_to: Path | None = None) -> str:
    """The text that `save` writes."""
    return yaml12.write(dump(obj, relative_to))


def plain(value: Any, annotation: Any, relative_to: Path | None = None) -> Any:
    """Turn a value of the annotated type into a plain tree."""
    inner, marks = unwrap(annotation)
    if is_block(type(value)):
        return _plain_block(value, union_members(inner)[0] if is_choice(marks) else None, relative_to)
    if isinstance(value, Mapping):
        return {str(k): plain(v, item_annotation(inner, k), relative_to) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, item_annotation(inner, i), relative_to) for i, item in enumerate(value)]
    if isinstance(value, str) and location_mark(marks):
        return written(value, relative_to)
    if isinstance(value, str) and is_function(marks):
        return _function_name(value, relative_to)
    if value is None or type(value) in (bool, int, float, str):
        return value
    kind: Any = type(value)
    return adapter(kind).dump_python(value, mode="json")


def _plain_block(value: Any, choices: tuple[type, ...] | None, relative_to: Path | None) -> dict[str, Any]:
    cls = type(value)
    tree: dict[str, Any] = {}
    if stage_of(cls) is not None:
        tree["stage"] = stage_of(cls)
    if choices is not None:
        tree["name"] = name_of(cls) if cls in choices else _plugin_name(cls, relative_to)
    return tree | {k: plain(getattr(value, k), field_annotation(cls, k), relative_to) for k in fields_of(cls)}


def _plugin_name(cls: type, relative_to: Path | None) -> str:
    file = plugins.file_of(cls)
    module = cls.__module__ if file is None else written(file, relative_to)
    return f"{module}:{cls.__qualname__}"


def _function_name(name: str, relative_to: Path | None) -> str:
    module, _, function = name.rpartition(":")
    return f"{written(module, relative_to)}:{function}" if module.endswith(".py") else name


def addresses(obj: Any) -> dict[str, Any]:
    """Return every value of an object by its address."""
    return flatten(dump(obj))


def locations(obj: Any) -> dict[str, str]:
    """Return every location in an object in full, an absolute path or `hf://...`, by its address."""
    return {
        address: mark.spelled_out(value, Path.cwd())
        for address, value, marks in _walk(obj, type(obj), "")
        if isinstance(value, str) and (mark := location_mark(marks)) is not None
    }


def plugin_files(obj: Any) -> dict[str, Files]:
    """Return the source files of every class and function from outside the package in an object, by its address."""
    modules = {address: _plug_in(value, marks) for address, value, marks in _walk(obj, type(obj), "")}
    return {address: imported_files(module) for address, module in modules.items() if module is not None}


def _plug_in(value: Any, marks: Any) -> ModuleType | None:
    """Return the module from outside the package that defines a block or a named function, or None."""
    if isinstance(value, str):
        return plugins.module_of(value) if is_function(marks) else None
    module = sys.modules[type(value).__module__]
    return None if module.__name__.partition(".")[0] in ("overopt", "__main__") else module


def _walk(value: Any, annotation: Any, address: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield every block and every text in an object, with its address and the marks of its annotation."""
    inner, marks = unwrap(annotation)
    prefix = f"{address}." if address else ""
    if is_block(type(value)):
        yield address, value, marks
        for key in fields_of(type(value)):
            yield from _walk(getattr(value, key), field_annotation(type(value), key), prefix + key)
    elif isinstance(value, Mapping | list | tuple):
        items: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, Mapping) else enumerate(value)
        for place, item in items:
            yield from _walk(item, item_annotation(inner, place), f"{prefix}{place}")
    elif isinstance(value, str):
        yield address, value, marks

"""Descriptions of a block's fields for the dictionary of objectives and the reference pages."""

from __future__ import annotations

import json
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from overopt.config.blocks import (
    field_annotation,
    fields_of,
    is_choice,
    is_function,
    name_of,
    union_members,
)
from overopt.config.dumping import plain
from overopt.config.locations import location_mark
from overopt.config.plugins import is_block

_WORDS: dict[Any, str] = {
    float: "number",
    int: "whole number",
    bool: "true or false",
    str: "text",
    NoneType: "null",
    Any: "any",
}
_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def describe_fields(cls: type) -> list[dict[str, Any]]:
    """Return `name`, `type` in words, `default` as in YAML (absent if required) and `doc` of each field."""
    rows = []
    for name, field in fields_of(cls).items():
        annotation = field_annotation(cls, name)
        row: dict[str, Any] = {"name": name, "type": describe_type(annotation)}
        if not field.is_required():
            row["default"] = plain(field.get_default(call_default_factory=True), annotation)
        rows.append(row | {"doc": _one_line(field.description or "")})
    return rows


def describe_type(annotation: Any) -> str:
    """Describe an annotation with its bounds: `number > 0`, `one of sum, mean`, `list of text`."""
    marks = list(getattr(annotation, "__metadata__", ()))
    if marks:
        inner = get_args(annotation)[0]
        if (mark := location_mark(marks)) is not None:
            return "path" if mark.hub is None else "path or name on the Hub"
        if is_function(marks):
            return "my_module:function"
        if is_choice(marks):
            blocks, others = union_members(inner)
            return " or ".join([*map(describe_type, others), "one of " + ", ".join(map(name_of, blocks))])
        return " ".join([describe_type(inner), *_bounds(marks)])
    if annotation in _WORDS:
        return _WORDS[annotation]
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "one of " + ", ".join(map(str, args))
    if origin is list:
        return f"list of {describe_type(args[0])}"
    if origin is dict:
        return "mapping"
    if origin is tuple:
        return "list of " + ", ".join(describe_type(arg) for arg in args if arg is not ...)
    if args:
        return " or ".join(map(describe_type, args))
    return name_of(annotation) if is_block(annotation) else str(getattr(annotation, "__name__", annotation))


def _bounds(marks: list[Any]) -> list[str]:
    """List the bounds among the marks of an annotation, those inside pydantic's `Field` included."""
    limits = [limit for mark in marks for limit in (mark, *getattr(mark, "metadata", ()))]
    bounds = [(sign, getattr(limit, key, None)) for limit in limits for key, sign in _SIGNS.items()]
    return [f"{sign} {bound:g}" for sign, bound in bounds if isinstance(bound, int | float)]


def shown_default(row: dict[str, Any]) -> str:
    """Return the default of a described field as YAML writes it; empty if it has none."""
    return json.dumps(row["default"], ensure_ascii=False) if "default" in row else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())

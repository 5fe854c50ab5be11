"""Records of a JSONL file (gzipped or not) and their fields; every message names the file and the line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from overopt.datafiles import json_value, opened
from overopt.errors import UserError

JsonObject = Mapping[str, Any]

LARGEST = 1e100
"""Scores beyond it are mistakes, and their squares overflow. NaN and the infinities lie beyond it too."""


def read_records(path: Path) -> Iterator[tuple[str, JsonObject]]:
    """(FILE:LINE, record) of every line that is not blank; at least one."""
    found = False
    with opened(path, pipes=True) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                found = True
                place = f"{path}:{number}"
                yield place, _record(line, place)
    if not found:
        raise UserError(f"{path}: the file is empty; expected one JSON object a line")


def field(record: JsonObject, name: str, kind: type, place: str) -> Any:
    """A field that must be there and of a type."""
    if name not in record:
        raise UserError(f"{place}: has no field {name!r}; it has {', '.join(map(repr, record)) or 'none'}")
    value = record[name]
    if not isinstance(value, kind):
        raise UserError(f"{place}: {name}: expected {WORDS[kind]}, got {_brief(value)}")
    return value


def number(record: JsonObject, name: str, place: str) -> float:
    """A finite number; true and false are none."""
    value = field(record, name, object, place)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST:
        raise UserError(f"{place}: {name}: expected a number, got {_brief(value)}; score it or leave the candidate out")
    return float(value)


def objects(record: JsonObject, name: str, place: str) -> list[tuple[str, JsonObject]]:
    """(place, object) of each member of a list that must hold objects."""
    members = field(record, name, list, place)
    places = [f"{place}: {name}[{index}]" for index in range(len(members))]
    for where, member in zip(places, members, strict=True):
        if not isinstance(member, dict):
            raise UserError(f"{where}: expected an object, got {_brief(member)}")
    return list(zip(places, members, strict=True))


WORDS: Mapping[type, str] = {str: "a text", list: "a list", dict: "an object"}


def _record(line: bytes, place: str) -> JsonObject:
    record = json_value(line, place)
    if not isinstance(record, dict):
        raise UserError(f"{place}: expected a JSON object, got {_brief(record)}")
    return record


def _brief(value: Any) -> str:
    """As it stands in the file, cut: it may be a whole document."""
    try:
        text = json.dumps(value)
    except RecursionError:
        text = f"a {type(value).__name__} of a great depth"
    return text if len(text) <= 40 else f"{text[:37]}..."

"""Reads the objects of a JSONL file, gzipped or not, and checks their fields; errors name the file and the line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from overopt.datafiles import brief, json_objects, opened
from overopt.errors import UserError

JsonObject = Mapping[str, Any]

LARGEST = 1e100
"""Scores of a greater magnitude are mistakes, and their squares overflow; NaN and infinities are refused with them."""


def read_records(path: Path) -> Iterator[tuple[str, JsonObject]]:
    """Yield (FILE:LINE, object) for every line that is not blank; an empty file is an error."""
    found = False
    with opened(path, pipes=True) as lines:
        for place, record in json_objects(lines, path):
            if record is not None:
                found = True
                yield place, record
    if not found:
        raise UserError(f"{path}: the file is empty; expected one JSON object a line")


def field(record: JsonObject, name: str, kind: type, place: str) -> Any:
    """A required field of the given type."""
    if name not in record:
        raise UserError(f"{place}: has no field {name!r}; it has {', '.join(map(repr, record)) or 'none'}")
    value = record[name]
    if not isinstance(value, kind):
        raise UserError(f"{place}: {name}: expected {TYPE_NAMES[kind]}, got {brief(value)}")
    return value


def number(record: JsonObject, name: str, place: str) -> float:
    """A required field that is a finite number."""
    value = field(record, name, object, place)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST:
        raise UserError(f"{place}: {name}: expected a number, got {brief(value)}; score it or leave the candidate out")
    return float(value)


def objects(record: JsonObject, name: str, place: str) -> list[tuple[str, JsonObject]]:
    """(place, object) for each member of a required list of objects."""
    members = field(record, name, list, place)
    places = [f"{place}: {name}[{index}]" for index in range(len(members))]
    for where, member in zip(places, members, strict=True):
        if not isinstance(member, dict):
            raise UserError(f"{where}: expected an object, got {brief(member)}")
    return list(zip(places, members, strict=True))


TYPE_NAMES: Mapping[type, str] = {str: "a text", list: "a list", dict: "an object"}

"""Rows of a JSONL, JSON or Parquet file, gzipped or not, each with the place to name in an error."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from overopt.errors import UserError
from overopt.tasks.formats.example import Row
from overopt.types import Dropped

EXTENSIONS = (".jsonl", ".json", ".parquet")


def _extension(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    if not suffixes or suffixes[-1] not in EXTENSIONS:
        raise UserError(f"{path}: unknown kind of file; expected {', '.join(EXTENSIONS)}, or one of them with .gz")
    return suffixes[-1]


def _open(path: Path) -> BinaryIO:
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a file in it")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty")
    return cast("BinaryIO", gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")


def _row(value: Any, place: str) -> Row:
    if not isinstance(value, dict):
        raise UserError(f"{place}: expected an object with named fields, got {type(value).__name__}")
    # A null is an absent field: Parquet knows no other way to leave one out.
    return {name: field for name, field in value.items() if field is not None}


def _lines(file: BinaryIO, path: Path, dropped: Dropped) -> Iterator[tuple[str, Row]]:
    for number, line in enumerate(file, start=1):
        place = f"{path}:{number}"
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")  # some editors write a byte order mark
        if not line.strip():
            dropped.add("blank line")
            continue
        try:
            value = json.loads(line)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{place}: not JSON ({error})") from None
        yield place, _row(value, place)


def _is_json_lines(data: bytes) -> bool:
    """Whether a .json file holds one object a line, as many published ones do."""
    lines = data.splitlines()
    try:
        return len(lines) > 1 and isinstance(json.loads(lines[0]), dict)
    except ValueError:
        return False


def _json(file: BinaryIO, path: Path, dropped: Dropped) -> Iterator[tuple[str, Row]]:
    data = file.read().removeprefix(b"\xef\xbb\xbf")
    if _is_json_lines(data):
        yield from _lines(io.BytesIO(data), path, dropped)
        return
    try:
        records = json.loads(data)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: not JSON ({error.msg})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    if not isinstance(records, list):
        raise UserError(f"{path}: expected a list of records, or one record a line")
    for number, record in enumerate(records, start=1):
        place = f"{path}: record {number}"
        yield place, _row(record, place)


def _parquet(file: BinaryIO, path: Path) -> Iterator[tuple[str, Row]]:
    import pyarrow  # lazily: it costs 0.2 s and most files are JSONL
    import pyarrow.parquet

    try:
        batches = pyarrow.parquet.ParquetFile(io.BytesIO(file.read())).iter_batches()
        number = 0
        for batch in batches:
            for row in batch.to_pylist():
                number += 1
                place = f"{path}: row {number}"
                yield place, _row(row, place)
    except pyarrow.ArrowInvalid as error:
        raise UserError(f"{path}: not a Parquet file ({error})") from None


def read_rows(path: Path, dropped: Dropped) -> Iterator[tuple[str, Row]]:
    """(place, row) for each record; `place` is FILE:LINE, or the record's number where the file has no lines."""
    extension = _extension(path)
    with _open(path) as file:
        try:
            if extension == ".jsonl":
                yield from _lines(file, path, dropped)
            elif extension == ".json":
                yield from _json(file, path, dropped)
            else:
                yield from _parquet(file, path)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UserError(f"{path}: damaged gzip file ({error})") from None

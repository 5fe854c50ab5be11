"""Rows of JSONL, JSON, Parquet, CSV and TSV files, gzipped or not, each with the place to name in an error."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from overopt.datafiles import (
    ENCRYPTED,
    EXTENSIONS,
    LONGEST_LINE,
    PARQUET,
    extension,
    json_object,
    json_objects,
    json_value,
    lines_of,
    opened,
    shards,
    shortened,
    starts,
    utf8,
    whole,
)
from overopt.errors import UserError
from overopt.tasks.formats.example import Row
from overopt.tasks.sources import Source
from overopt.types import Dropped

TOKENS = re.compile(r"_tokens?$|_response_label$|^(?:input_ids|attention_mask|labels)$")
"""Names of columns of token ids, in data that were prepared for one tokenizer."""
BATCH = 256
"""Rows of a Parquet file that are unpacked at a time."""
LARGEST_BATCH = 2**30
"""Bytes of such rows; a small file may name one long text as often as it likes."""
LARGEST_GROUP = 4 * 2**30
"""Bytes that a column of a row group says it unpacks to."""


def read_rows(source: Path | Source, dropped: Dropped) -> Iterator[tuple[str, Row]]:
    """(place, row) for each record of a source or, of a path, of a file, a folder's files or a pattern's matches.

    `place` is FILE:LINE, or the record's number where the file has no lines.
    """
    for file in source.files() if isinstance(source, Source) else shards(source):
        kind = extension(file)
        if kind is None and file.exists() and not file.is_dir():
            known = ", ".join(EXTENSIONS)
            raise UserError(f"{file}: unknown kind of file; expected {known}, or one of them with .gz")
        with opened(file) as content:
            if starts(content, PARQUET) or kind == ".parquet":
                yield from _parquet(content, file)
            elif kind == ".json":
                yield from _json(content, file, dropped)
            elif kind in (".csv", ".tsv"):
                yield from _csv(content, file, dropped, "\t" if kind == ".tsv" else None)
            else:
                yield from _lines(lines_of(content, file), file, dropped)


def _row(value: Any, place: str) -> Row:
    # A null is an absent field: a Parquet row cannot omit one.
    return {name: field for name, field in json_object(value, place).items() if field is not None}


def _lines(lines: Iterable[bytes], path: Path, dropped: Dropped) -> Iterator[tuple[str, Row]]:
    for place, record in json_objects(lines, path):
        if record is None:
            dropped.add("blank line")
        else:
            yield place, _row(record, place)


def _is_json_lines(lines: Sequence[bytes]) -> bool:
    """Whether a .json file holds one object a line, as many published ones do, by its first two lines with text."""
    try:
        return len(lines) == 2 and lines[0].endswith(b"\n") and isinstance(json_value(lines[0], ""), dict)
    except UserError:
        return False


def _json(file: BinaryIO, path: Path, dropped: Dropped) -> Iterator[tuple[str, Row]]:
    head: list[bytes] = []
    with_text: list[bytes] = []
    while len(with_text) < 2 and sum(map(len, head)) < LONGEST_LINE and (line := file.readline(LONGEST_LINE)):
        head.append(line)
        with_text += [] if line.isspace() else [line]
    if _is_json_lines(with_text):
        yield from _lines(chain(head, lines_of(file, path, len(head) + 1)), path, dropped)
        return
    data = b"".join(head) + whole(file, path)
    name, records = _records(json_value(data, str(path), whole_file=True), path)
    for number, record in enumerate(records, start=1):
        place = f"{path}: {name} {number}"
        yield place, _row(record, place)


def _records(value: Any, path: Path) -> tuple[str, list[Any]]:
    """The word for a record in messages, and the records: a list, the only named list, or columns of equal length."""
    if isinstance(value, list):
        return "record", value
    fields = value if isinstance(value, dict) else {}
    lists = [field for field in fields.values() if isinstance(field, list)]
    objects = [all(isinstance(item, dict) for item in field) for field in lists]
    if len(fields) == len(lists) == 1 and objects == [True] and not _is_chat(lists[0]):
        return f"{next(iter(fields))}, record", lists[0]
    if len(fields) == len(lists) > 1 and not any(objects) and len({len(field) for field in lists}) == 1:
        return "row", [dict(zip(fields, row, strict=True)) for row in zip(*lists, strict=True)]
    raise UserError(
        f"{path}: expected a list of records, or one record a line; got {_described(value)}. "
        "Write the records as a list, or one a line into a .jsonl file"
    )


def _is_chat(items: list[Any]) -> bool:
    return any("role" in item or "from" in item for item in items)


def _described(value: Any) -> str:
    if not isinstance(value, dict):
        return f"a lone {type(value).__name__}"
    return f"one object with the fields {', '.join(list(value)[:8]) or 'none'}"


def _csv(file: BinaryIO, path: Path, dropped: Dropped, delimiter: str | None) -> Iterator[tuple[str, Row]]:
    """All cells are text. The first line names the columns; the delimiter is its most frequent of , ; and tab."""
    csv.field_size_limit(LONGEST_LINE)
    lines = lines_of(file, path)
    first = next(lines, b"")
    parting = delimiter or max(",;\t", key=first.decode("utf-8", "replace").count)
    texts = (utf8(line, f"{path}:{number}") for number, line in enumerate(chain([first], lines), start=1) if line)
    names: list[str] | None = None
    for place, cells in _cells(csv.reader(texts, delimiter=parting, strict=True), path):
        if not any(cell.strip() for cell in cells):
            dropped.add("blank line")
        elif names is None:
            names = _header(cells, place)
        elif len(cells) != len(names):
            raise UserError(
                f"{place}: {len(cells)} cells, but {len(names)} columns; a cell that holds {parting!r} must be quoted"
            )
        else:  # a column without a name is the index that some programs write
            yield place, {name: cell for name, cell in zip(names, cells, strict=True) if name}


def _cells(reader: Any, path: Path) -> Iterator[tuple[str, list[str]]]:
    """(place, cells) of each record; the place of one that spans several lines is its first line."""
    while True:
        place = f"{path}:{reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise UserError(f"{place}: not CSV ({error}); a cell with quotes or line ends must be quoted") from None
        if cells is None:
            return
        yield place, cells


def _header(cells: list[str], place: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{place}: two columns are named {twice!r}")
    return names


def _parquet(file: BinaryIO, path: Path) -> Iterator[tuple[str, Row]]:
    import pyarrow.parquet  # here, because it takes 0.2 s and most files are JSONL

    if starts(file, ENCRYPTED):
        raise UserError(f"{path}: is a Parquet file that is encrypted; write it without encryption")

    number = 0
    try:
        packed = isinstance(getattr(file, "raw", None), gzip.GzipFile)  # it cannot go back
        content = pyarrow.parquet.ParquetFile(io.BytesIO(whole(file, path)) if packed else file)
        names = _without_tokens(content.schema_arrow)
        _check_sizes(content.metadata, path)
        for batch in content.iter_batches(BATCH, columns=names):
            if batch.nbytes > LARGEST_BATCH:
                raise UserError(
                    f"{path}: rows {number + 1} to {number + len(batch)} unpack to {_too_much(batch.nbytes)}"
                )
            for row in _in_microseconds(batch).to_pylist():
                number += 1
                place = f"{path}: row {number}"
                yield place, _row(_without_nulls(row), place)
    except UserError:
        raise
    except Exception as error:  # damage of different kinds raises different exceptions
        after = f" after row {number}" if number else ""
        raise UserError(
            f"{path}: not a Parquet file, or a damaged one{after} ({shortened(error)}); fetch or write it again"
        ) from None


def _check_sizes(metadata: Any, path: Path) -> None:
    """Refuse a file whose columns say that they unpack to more than memory may hold, before one is unpacked."""
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            if column.total_uncompressed_size > LARGEST_GROUP:
                size = _too_much(column.total_uncompressed_size)
                raise UserError(f"{path}: column {column.path_in_schema!r} unpacks to {size}")


def _too_much(size: int) -> str:
    return f"{size / 2**30:.1f} GiB, too much to hold in memory; write the file in smaller row groups, or as JSONL"


def _without_tokens(schema: Any) -> list[str]:
    """The columns to read: those of token ids (lists of integers) repeat the texts at many times their size."""
    from pyarrow import types

    def is_tokens(field: Any) -> bool:
        kind = field.type
        listed = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
        return listed and types.is_integer(kind.value_type) and TOKENS.search(field.name) is not None

    return [field.name for field in schema if not is_tokens(field)]


def _in_microseconds(batch: Any) -> Any:
    """Cast timestamps to microseconds, since pyarrow cannot convert nanoseconds to Python's datetime."""
    from pyarrow import RecordBatch, timestamp, types

    columns = [
        column.cast(timestamp("us", column.type.tz), safe=False) if types.is_timestamp(column.type) else column
        for column in batch.columns
    ]
    return RecordBatch.from_arrays(columns, names=batch.schema.names)


def _without_nulls(value: Any) -> Any:
    """Remove null fields of nested objects: all objects of a Parquet column have the same fields."""
    if isinstance(value, dict):
        return {name: _without_nulls(field) for name, field in value.items() if field is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value

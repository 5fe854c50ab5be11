"""Records and fields, and the one message for each thing that can be wrong."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from overopt.analysis.jsonl import field, number, objects, read_records
from overopt.errors import UserError


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_records_with_their_lines(tmp_path: Path, name: str) -> None:
    file = write(tmp_path / name, b'\xef\xbb\xbf{"a": 1}\n\n  \n{"a": "\xc3\xa9"}')
    assert list(read_records(file)) == [(f"{file}:1", {"a": 1}), (f"{file}:4", {"a": "é"})]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "{file}: the file is empty"),
        (b"\n \n", "{file}: the file is empty"),
        (b'{"a": 1}\n{"a": \n', "{file}:2: not JSON"),
        (b'{"a": 1}\n[1, 2]\n', "{file}:2: expected a JSON object, got [1, 2]"),
        (b'{"a": "\xff"}\n', "{file}:1: not text in UTF-8 (byte 0xff at 7); save the file as UTF-8"),
        ('{"a": 1}\n'.encode("utf-16")[:-1], "{file}: is UTF-16, and damaged"),
        (b'{"a": 1}\n' + b"[" * 100_000, "{file}:2: not JSON"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, message: str) -> None:
    file = write(tmp_path / "a.jsonl", content)
    with pytest.raises(UserError) as error:
        list(read_records(file))
    assert str(error.value).startswith(message.replace("{file}", str(file)))


def test_a_damaged_gzip_file_and_a_missing_one(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl.gz"
    for content in (b"no gzip at all", gzip.compress(b'{"a": 1}\n' * 1000)[:40]):
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"a.jsonl.gz: damaged gzip file"):
            list(read_records(file))
    with pytest.raises(UserError, match="none.jsonl: no such file"):
        list(read_records(tmp_path / "none.jsonl"))


def test_fields() -> None:
    record = {"text": "t", "list": [{"a": 1}, {}], "number": 3, "mixed": [{}, 5]}
    assert field(record, "text", str, "f:1") == "t"
    assert number(record, "number", "f:1") == 3.0
    assert objects(record, "list", "f:1") == [("f:1: list[0]", {"a": 1}), ("f:1: list[1]", {})]
    for name, kind, message in [
        ("none", str, "f:1: has no field 'none'; it has 'text', 'list', 'number', 'mixed'"),
        ("text", list, 'f:1: text: expected a list, got "t"'),
        ("number", str, "f:1: number: expected a text, got 3"),
    ]:
        with pytest.raises(UserError) as error:
            field(record, name, kind, "f:1")
        assert str(error.value) == message
    with pytest.raises(UserError, match=r"f:1: mixed\[1\]: expected an object, got 5"):
        objects(record, "mixed", "f:1")
    with pytest.raises(UserError, match="it has none"):
        field({}, "a", str, "f:1")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"), (True, "true"), ("1.5", '"1.5"'), (float("nan"), "NaN"), (float("-inf"), "-Infinity"),
        (10**400, "1" + 36 * "0" + "..."), (["x" * 99], '["' + 35 * "x" + "..."), ("\x1b[31m", r'"\u001b[31m"'),
    ],
)  # fmt: skip
def test_what_is_no_number(value: Any, shown: str) -> None:
    with pytest.raises(UserError) as error:
        number({"gold": value}, "gold", "f:1")
    assert str(error.value) == f"f:1: gold: expected a number, got {shown}; score it or leave the candidate out"

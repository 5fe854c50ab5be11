import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from overopt.errors import UserError
from overopt.tasks.formats.files import read_rows
from overopt.types import Dropped

ROWS = [{"prompt": "a\u2028b", "n": 1}, {"prompt": "é", "n": 2}]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in read_rows(path, Dropped())]


def parquet(path: Path, rows: list[dict[str, Any]]) -> bytes:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path.read_bytes()


@pytest.mark.parametrize("gz", ["", ".gz"])
@pytest.mark.parametrize("kind", ["lines.jsonl", "list.json", "lines.json", "table.parquet"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, kind: str, gz: str) -> None:
    content = {
        "lines.jsonl": lines(ROWS),
        "list.json": json.dumps(ROWS, indent=1).encode(),
        "lines.json": lines(ROWS),
        "table.parquet": parquet(tmp_path / "scratch.parquet", ROWS),
    }[kind]
    path = tmp_path / f"{kind}{gz}"
    path.write_bytes(gzip.compress(content) if gz else content)
    assert rows_of(path) == ROWS


def test_places(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"x": 1}\n\n{"x": 2}')
    (tmp_path / "a.json").write_text('[{"x": 1}, {"x": 2}]')
    parquet(tmp_path / "a.parquet", [{"x": 1}, {"x": 2}])
    dropped = Dropped()
    places = {
        kind: [place for place, _ in read_rows(tmp_path / f"a.{kind}", dropped)]
        for kind in ("jsonl", "json", "parquet")
    }
    assert places == {
        "jsonl": [f"{tmp_path}/a.jsonl:1", f"{tmp_path}/a.jsonl:3"],
        "json": [f"{tmp_path}/a.json: record 1", f"{tmp_path}/a.json: record 2"],
        "parquet": [f"{tmp_path}/a.parquet: row 1", f"{tmp_path}/a.parquet: row 2"],
    }
    assert dropped.reasons == {"blank line": 1}


def test_a_null_is_an_absent_field(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", [{"x": 1, "y": None}, {"x": None, "y": "b"}])
    (tmp_path / "a.jsonl").write_text('{"x": 1, "y": null}\n{"x": null, "y": "b"}\n')
    assert rows_of(tmp_path / "a.parquet") == rows_of(tmp_path / "a.jsonl") == [{"x": 1}, {"y": "b"}]


def test_windows_line_ends_and_a_byte_order_mark_are_no_matter(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"x": 1}\r\n{"x": 2}\r\n')
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf[{"x": 1}, {"x": 2}]')
    assert rows_of(tmp_path / "a.jsonl") == rows_of(tmp_path / "a.json") == [{"x": 1}, {"x": 2}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"x": 1}\nno json\n', r"a\.jsonl:2: not JSON"),
        ("a.jsonl", b'{"x": 1}\n[1]\n', r"a\.jsonl:2: expected an object with named fields, got list"),
        ("a.jsonl", b'{"x": "\xff"}\n', r"a\.jsonl:1: not text in UTF-8 \(byte 0xff at 7\)"),
        ("a.json", b'[{"x": 1},\n{"x" 2}]', r"a\.json:2: not JSON"),
        ("a.json", b'{"x": 1}\n{"x"\n', r"a\.json:2: not JSON"),
        ("a.json", b'[{"x": 1}, 3]', r"a\.json: record 2: expected an object"),
        ("a.json", b'{"x": 1}', r"a\.json: expected a list of records, .*; got one object with the fields x"),
        ("a.json", b'[\n{"x": "\xff"}]', r"a\.json:2: not text in UTF-8"),
        ("a.parquet", b"PAR1 not really", r"a\.parquet: not a Parquet file"),
        ("a.jsonl.gz", b'{"x": 1}', r"a\.jsonl\.gz: damaged gzip file"),
        ("a.jsonl.gz", gzip.compress(b'{"x": 1}\n' * 99)[:-9], r"a\.jsonl\.gz: damaged gzip file"),
        ("a.jsonl", b"", r"a\.jsonl: the file is empty"),
        ("a.txt", b"x\n1\n", r"a\.txt: unknown kind of file; expected \.jsonl, \.ndjson, \.json, \.parquet, \.csv"),
        ("a", b"x", "a: unknown kind of file"),
    ],
)
def test_what_cannot_be_read_is_the_users_error(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        rows_of(tmp_path / name)


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        rows_of(tmp_path / "absent.jsonl")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        rows_of(tmp_path / "folder.json")

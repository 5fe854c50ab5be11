import gzip
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from overopt import datafiles
from overopt.errors import UserError
from overopt.tasks.formats import files
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
        ("a.jsonl", b'{"x": 1}\n[1]\n', r"a\.jsonl:2: expected a JSON object, got \[1\]"),
        ("a.jsonl", b'{"x": "\xff"}\n', r"a\.jsonl:1: not text in UTF-8 \(byte 0xff at 7\)"),
        ("a.json", b'[{"x": 1},\n{"x" 2}]', r"a\.json:2: not JSON"),
        ("a.json", b'{"x": 1}\n{"x"\n', r"a\.json:2: not JSON"),
        ("a.json", b'[{"x": 1}, 3]', r"a\.json: record 2: expected a JSON object, got 3"),
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


# --- CSV


def test_csv_and_tsv_cells_are_text_by_the_names_of_the_first_line(tmp_path: Path) -> None:
    text = ',prompt,chosen\r\n0,"a, ""b""\nc",5\r\n\r\n1, d,\r\n'
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())  # with the mark and the index that programs write
    rows = [{"prompt": 'a, "b"\nc', "chosen": "5"}, {"prompt": " d", "chosen": ""}]
    dropped = Dropped()
    assert list(read_rows(tmp_path / "a.csv", dropped)) == [
        (f"{tmp_path}/a.csv:2", rows[0]),
        (f"{tmp_path}/a.csv:5", rows[1]),
    ]
    assert dropped.reasons == {"blank line": 1}
    (tmp_path / "semicolon.csv").write_text("prompt;chosen\na,b;5\n")
    (tmp_path / "a.tsv").write_text("prompt\tchosen\na,b\t5\n")
    assert rows_of(tmp_path / "semicolon.csv") == rows_of(tmp_path / "a.tsv") == [{"prompt": "a,b", "chosen": "5"}]


def test_a_csv_of_nothing_but_a_mark_has_no_records(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf")
    assert rows_of(tmp_path / "a.csv") == []


def test_a_cell_may_be_long(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"prompt,chosen\n{'a' * 200_000},b\n")
    assert len(rows_of(tmp_path / "a.csv")[0]["prompt"]) == 200_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a,b\n1,2\n1,2,3\n", r":3: 3 cells, but 2 columns; a cell that holds ',' must be quoted"),
        (b"a,b\n1\n", r":2: 1 cells, but 2 columns"),
        (b'a,b\n1,2\n1,"2\n', r":3: not CSV \(unexpected end of data\)"),
        (b'a,b\n"1"x,2\n', r":2: not CSV"),
        (b"a,a\n1,2\n", r":1: two columns are named 'a'"),
        (b"a,b\n1,\xe9\n", r":2: not text in UTF-8 \(byte 0xe9"),
    ],
)
def test_csv_that_is_none(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / "a.csv").write_bytes(text)
    with pytest.raises(UserError, match=r"a\.csv" + message):
        rows_of(tmp_path / "a.csv")


# --- Other containers


def test_a_json_file_of_columns_or_of_one_named_list(tmp_path: Path) -> None:
    for value in ({"prompt": ["a", "b"], "n": [1, 2]}, {"data": [{"prompt": "a", "n": 1}, {"prompt": "b", "n": 2}]}):
        (tmp_path / "a.json").write_text(json.dumps(value))
        assert rows_of(tmp_path / "a.json") == [{"prompt": "a", "n": 1}, {"prompt": "b", "n": 2}]
    for value in ({"messages": [{"role": "user", "content": "a"}]}, {"a": [1], "b": [1, 2]}, {"a": [], "b": 1}, 3):
        (tmp_path / "a.json").write_text(json.dumps(value))
        with pytest.raises(UserError, match="a.json: expected a list of records, or one record a line; got"):
            rows_of(tmp_path / "a.json")


def test_a_folder_of_shards_is_read_in_order_and_a_place_names_the_shard(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name, n in (("b", 2), ("a", 1)):
        parquet(tmp_path / "data" / f"{name}.parquet", [{"x": n}])
    places = [(f"{tmp_path}/data/a.parquet: row 1", {"x": 1}), (f"{tmp_path}/data/b.parquet: row 1", {"x": 2})]
    assert list(read_rows(tmp_path / "data", Dropped())) == places
    assert list(read_rows(tmp_path / "data" / "*.parquet", Dropped())) == places


def test_parquet_damaged_in_its_pages_or_its_metadata(tmp_path: Path) -> None:
    whole = parquet(tmp_path / "a.parquet", [{"prompt": f"a {n}", "chosen": "b"} for n in range(40)])
    for damaged in (whole[:200] + bytes(64) + whole[264:], whole[len(whole) // 2 :], whole[:-20], b"PARE" + whole[4:]):
        (tmp_path / "a.parquet").write_bytes(damaged)
        with pytest.raises(UserError, match=r"a\.parquet: .*Parquet file"):
            rows_of(tmp_path / "a.parquet")


def test_of_parquet_columns_of_tokens_are_not_read(tmp_path: Path) -> None:
    row = {"query": "a", "query_token": [50277, 5], "query_token_len": 1, "input_ids": [5], "info": {"labels": [1]}}
    parquet(tmp_path / "a.parquet", [row | {"ranking": [1, 0], "bad_token": ["text"]}])
    kept = {"query": "a", "query_token_len": 1, "info": {"labels": [1]}, "ranking": [1, 0], "bad_token": ["text"]}
    assert rows_of(tmp_path / "a.parquet") == [kept]


def test_parquet_of_odd_types(tmp_path: Path) -> None:
    table = pyarrow.table(
        {
            "prompt": pyarrow.array(["a", "a"]).dictionary_encode(),
            "large": pyarrow.array(["b", "c"], pyarrow.large_string()),
            "when": pyarrow.array([1_500, 2], pyarrow.timestamp("ns")),
            "raw": [b"\xff", None],
            "calls": [[{"name": "x", "b": 1}], [{"name": "y", "b": None}]],
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    first, second = rows_of(tmp_path / "a.parquet")
    assert (first["prompt"], first["large"], first["raw"]) == ("a", "b", b"\xff")
    assert first["when"] == datetime(1970, 1, 1, microsecond=1)
    assert second["calls"] == [{"name": "y"}] and "raw" not in second  # a null is an absent field, at any depth


# --- Files from strangers


def test_a_packed_file_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datafiles, "LONGEST_LINE", 1000)
    monkeypatch.setattr(datafiles, "LARGEST_WHOLE", 1 << 20)
    monkeypatch.setattr(files, "LONGEST_LINE", 1000)
    row = json.dumps({"prompt": "a"}) + "\n"
    for name in ("a.jsonl.gz", "a.csv.gz"):
        (tmp_path / name).write_bytes(gzip.compress((row + "x" * 2000).encode()))
        with pytest.raises(UserError, match=name + r":2: a line of more than 0 MiB; a record is held in memory"):
            rows_of(tmp_path / name)
    for name, text in {"a.json.gz": "[" + "{}," * (1 << 19), "b.json.gz": "{" + " " * (1 << 21)}.items():
        (tmp_path / name).write_bytes(gzip.compress(text.encode()))
        with pytest.raises(UserError, match=name + ": unpacks to more than 1 MiB.*write it as JSONL"):
            rows_of(tmp_path / name)
    (tmp_path / "a.jsonl").write_bytes(("x" * (1 << 20)).encode("utf-16"))
    with pytest.raises(UserError, match="a.jsonl: unpacks to more than 1 MiB"):
        rows_of(tmp_path / "a.jsonl")


def test_a_json_file_of_lines_is_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datafiles, "LARGEST_WHOLE", 100)
    (tmp_path / "a.json").write_text("\n\n" + '{"n": 1}\n\n' * 50)
    dropped = Dropped()
    places = [place for place, _ in read_rows(tmp_path / "a.json", dropped)]
    assert places == [f"{tmp_path}/a.json:{line}" for line in range(3, 103, 2)] and dropped.reasons["blank line"] == 52


def test_parquet_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.parquet"
    parquet(file, [{"x": "y" * 10_000}] * 300)
    assert file.stat().st_size < 50_000  # the text is named 300 times
    assert len(rows_of(file)) == 300
    monkeypatch.setattr(files, "LARGEST_BATCH", 2_000_000)
    with pytest.raises(UserError, match="a.parquet: rows 1 to 256 unpack to 0.0 GiB, too much to hold in memory"):
        rows_of(file)
    monkeypatch.setattr(files, "LARGEST_GROUP", 100)
    with pytest.raises(UserError, match="a.parquet: column 'x' unpacks to 0.0 GiB"):
        rows_of(file)

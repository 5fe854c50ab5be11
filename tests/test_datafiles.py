"""What a file holds decides, not its name; what cannot be read is named with its remedy."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import sqlite3
import zipfile
from pathlib import Path

import pytest

from overopt.datafiles import json_objects, json_value, opened, shards, utf8
from overopt.errors import UserError

TEXT = '{"prompt": "é 你"}\n{"prompt": "b"}\n'


def content(path: Path, data: bytes) -> bytes:
    path.write_bytes(data)
    with opened(path) as file:
        return file.read()


# --- Encodings and containers that are read


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_every_unicode_is_read_as_utf8_and_gzip_by_what_it_is(tmp_path: Path, coding: str, pack: type[bytes]) -> None:
    assert content(tmp_path / "a.jsonl", pack(TEXT.encode(coding))) == TEXT.encode()


def test_a_parquet_file_stays_as_it_is(tmp_path: Path) -> None:
    assert content(tmp_path / "a.jsonl", b"PAR1\x00\x00\x00\xff") == b"PAR1\x00\x00\x00\xff"


# --- What is named instead


def zipped() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("a.jsonl", TEXT)
    return sink.getvalue()


def database(folder: Path) -> bytes:
    with sqlite3.connect(folder / "a.db") as connection:
        connection.execute("create table a (b)")
    return (folder / "a.db").read_bytes()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\n", "is a git-lfs pointer, .*`git lfs pull`"),
        (zipped(), "is a ZIP archive"),
        (bz2.compress(b"x"), r"compressed with bzip2; unpack it with `bzip2 -d`"),
        (lzma.compress(b"x"), r"compressed with xz"),
        (b"\x28\xb5\x2f\xfd\x00", "compressed with zstd"),
        (gzip.compress(gzip.compress(b"{}")), "compressed with gzip twice"),
        (b"\n <!DOCTYPE html><html>Sign in", "a web page"),
        (b"<html>", "a web page"),
        (b"\x80\x04\x95\x00", "a Python pickle, which is never loaded"),
        (TEXT.encode("utf-16")[:-1], "is UTF-16, and damaged"),
        (gzip.compress(TEXT.encode())[:-10], r"damaged gzip file \(Compressed file ended"),
        (b"", "the file is empty"),
    ],
)
def test_something_else_is_named_with_its_remedy(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=rf"a\.jsonl: .*{message}"):
        content(tmp_path / "a.jsonl", data)


def test_a_database_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.json: is an SQLite database; export its table as CSV"):
        content(tmp_path / "a.json", database(tmp_path))


def test_what_is_called_gz_and_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.jsonl\.gz: damaged gzip file, or none; .* take \.gz off its name"):
        content(tmp_path / "a.jsonl.gz", b"{}\n")


def test_a_pipe_does_not_hang_and_is_read_where_that_is_asked_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(UserError, match=r"pipe\.jsonl: is a pipe or a device; a file is needed"):
        opened(tmp_path / "pipe.jsonl").__enter__()
    reader, writer = os.pipe()
    os.write(writer, TEXT.encode())
    os.close(writer)
    with opened(Path(f"/dev/fd/{reader}"), pipes=True) as file:
        assert file.read() == TEXT.encode()
    os.close(reader)


@pytest.mark.parametrize("name", ["a\0b.jsonl", "a" * 5000 + ".jsonl"])
def test_a_name_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError):
        opened(tmp_path / name).__enter__()


def test_whatever_a_reader_raises_is_said_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}")
    said = pytest.raises(UserError, match=r"a\.jsonl: cannot be read \(ZeroDivisionError: first line\)$")
    with said, opened(tmp_path / "a.jsonl"):
        raise ZeroDivisionError("first line\nsecond line")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}")
    (tmp_path / "a.jsonl").chmod(0)
    with pytest.raises(UserError, match=r"a\.jsonl: cannot be read \(Permission denied\)"):
        opened(tmp_path / "a.jsonl").__enter__()


# --- JSON


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[" * 100_000 + b"]" * 100_000, "brackets nested too deep"),
        (b'{"x": ' + b"9" * 5000 + b"}", "an integer of more than 4,300 digits; write it as text"),
        (b'{"x": 1, "x": 2}', "the field 'x' comes twice"),
        (b'{"y": {"x": 1, "x": 2}}', "the field 'x' comes twice"),
        (b'{"x": "a', "Unterminated string"),
        (b'{"x": 1', "the text ends there, cut off"),
        (b'{"x": "\xe9"}', "not text in UTF-8 .byte 0xe9 at 7.; save the file as UTF-8"),
        (b"", "not JSON"),
    ],
)
def test_json_that_cannot_be_read(text: bytes, message: str) -> None:
    with pytest.raises(UserError, match=f"^F:3: .*{message}"):
        json_value(text, "F:3")


def test_the_line_of_a_fault_in_a_whole_file() -> None:
    for text, line in ((b"[1,\n2\n 3]", 3), (b'[1,\n"\xe9"]', 2)):
        with pytest.raises(UserError, match=f"^F:{line}: "):
            json_value(text, "F", whole_file=True)
    assert json_value('{"é": [NaN]}'.encode(), "F").keys() == {"é"}
    assert utf8("é".encode(), "F") == "é"


# --- Folders and patterns


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text("{}\n")
    return folder


def test_a_location_is_a_file_or_a_folders_files_or_a_patterns_by_name(tmp_path: Path) -> None:
    folder = touch(tmp_path / "data", "b.jsonl", "a.jsonl.gz", ".hidden.jsonl", "README.md", "c.jsonl")
    assert [file.name for file in shards(folder)] == ["a.jsonl.gz", "b.jsonl", "c.jsonl"]
    assert [file.name for file in shards(folder / "[bc]*.jsonl")] == ["b.jsonl", "c.jsonl"]
    assert shards(folder / "b.jsonl") == [folder / "b.jsonl"]
    assert shards(folder / "none.jsonl") == [folder / "none.jsonl"]  # opened, it says that there is no such file
    touch(folder, "x[1].jsonl")
    assert shards(folder / "x[1].jsonl") == [folder / "x[1].jsonl"]


def test_nothing_and_a_mixture_are_refused(tmp_path: Path) -> None:
    (tmp_path / "repository" / "data").mkdir(parents=True)
    with pytest.raises(UserError, match="is a folder without data files .*; it holds the folders data"):
        shards(tmp_path / "repository")
    with pytest.raises(UserError, match="no file matches"):
        shards(tmp_path / "*.jsonl")
    with pytest.raises(UserError, match=r"several kinds \(\.json, \.parquet\); name one by a pattern"):
        shards(touch(tmp_path / "mixed", "a.parquet", "dataset_infos.json"))


@pytest.mark.parametrize(
    ("names", "sets"),
    [
        (
            ("train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "test-00000-of-00001.parquet"),
            "test, train",
        ),
        (("train_prefs-00000-of-00001.parquet", "train_sft-00000-of-00001.parquet"), "train_prefs, train_sft"),
        (("train.jsonl", "validation.jsonl"), "train, validation"),
        (("pairs_train.jsonl", "pairs_test.jsonl"), "test, train"),
    ],
)
def test_training_and_test_sets_are_not_mixed(tmp_path: Path, names: tuple[str, ...], sets: str) -> None:
    folder = touch(tmp_path / "data", *names)
    with pytest.raises(UserError, match=rf"holds several data sets \({sets}\); name the files of one by a pattern"):
        shards(folder)
    assert shards(folder / f"{names[0][:8]}*")


def test_objects_of_json_lines_with_their_places() -> None:
    lines = [b'{"a": 1}\n', b"  \n", b'{"b": null}']
    assert list(json_objects(lines, Path("x.jsonl"))) == [
        ("x.jsonl:1", {"a": 1}),
        ("x.jsonl:2", None),
        ("x.jsonl:3", {"b": None}),
    ]
    rows = json_objects([b"{}\n", b'["' + b"y" * 99 + b'"]\n'], Path("x.jsonl"))
    assert next(rows) == ("x.jsonl:1", {})
    with pytest.raises(UserError, match=r'x\.jsonl:2: expected a JSON object, got \["y{35}\.\.\.$'):
        next(rows)

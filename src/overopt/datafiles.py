"""Opens, unpacks, decodes and parses the user's data files.

The content of a file decides its kind, not its name. Whatever fails here, in our code or a library's, is a UserError
that names the file.
"""

from __future__ import annotations

import codecs
import glob
import gzip
import io
import json
import re
import stat
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from overopt.errors import UserError

EXTENSIONS = (".jsonl", ".ndjson", ".json", ".parquet", ".csv", ".tsv")
PARQUET, ENCRYPTED = b"PAR1", b"PARE"
"""First bytes of Parquet files."""
LFS_POINTER = b"version https://git-lfs"
"""First bytes of the file that git-lfs leaves in place of one it has not fetched."""
NEWLINE = b"\n"
LONGEST_LINE = 32 * 2**20
"""Bytes of a line, which is a record and is held in memory as a whole; a small packed file may unpack to any size."""
LARGEST_WHOLE = 512 * 2**20
"""Bytes, unpacked, of a file that is read as a whole, since it has no lines."""
_GZIP = b"\x1f\x8b"
_FOREIGN = (
    (LFS_POINTER, "a git-lfs pointer, not the data; fetch them with `git lfs pull`"),
    (b"PK\x03\x04", "a ZIP archive (or an Excel workbook); unpack it, or save it as CSV"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd; unpack it with `zstd -d`"),
    (b"\xfd7zXZ\x00", "compressed with xz; unpack it with `xz -d`"),
    (b"BZh", "compressed with bzip2; unpack it with `bzip2 -d`"),
    (b"\x04\x22\x4d\x18", "compressed with lz4; unpack it with `lz4 -d`"),
    (_GZIP, "compressed with gzip twice; unpack it once with `gunzip`"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it"),
    (b"SQLite format 3\x00", "an SQLite database; export its table as CSV"),
    (b"ARROW1\x00\x00", "an Arrow file; write it as Parquet"),
    (b"\xff\xff\xff\xff", "an Arrow stream; write it as Parquet"),
    (b"Obj\x01", "an Avro file; write it as JSONL"),
    (b"\x89HDF", "an HDF5 file; write it as JSONL"),
    (b"\x93NUMPY", "a NumPy array; write it as JSONL"),
    (b"\x80\x04\x95", "a Python pickle, which is never loaded; write it as JSONL"),
    (b"\x80\x05\x95", "a Python pickle, which is never loaded; write it as JSONL"),
    (b"%PDF", "a PDF"),
)
"""First bytes of files that are not supported, and what to do about each."""
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)  # 32 bits first: its mark begins like that of 16
_NULS: dict[tuple[int, ...], str] = {
    (0, 1, 1, 1): "utf-32-le",
    (1, 1, 1, 0): "utf-32-be",
    (0, 1, 0, 1): "utf-16-le",
    (1, 0, 1, 0): "utf-16-be",
}
"""Which of the first four bytes are 0 in a text that begins with ASCII and has no byte order mark."""
_NUMBERED = re.compile(r"[-_.]\d+-of-\d+\b.*")
_SPLIT = re.compile(r"(?:^|[-_. ])(train|test|val|valid|validation|dev|eval)(?:[-_. ]|\d|$)", re.IGNORECASE)


def extension(path: Path) -> str | None:
    """Return the extension of a data file without `.gz`; None if it is not one of `EXTENSIONS`."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    return suffixes[-1] if suffixes and suffixes[-1] in EXTENSIONS else None


def shards(path: Path) -> list[Path]:
    """Return the files of a location, sorted: the file itself, the data files of a folder, or a pattern's matches.

    UserError for no file, several kinds of files, or several splits of a data set in one folder.
    """
    with _refusing(path):
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.is_file() and extension(p) and not p.name.startswith("."))
            if not found:
                folders = ", ".join(sorted(p.name for p in path.iterdir() if p.is_dir())[:5])
                below = f"; it holds the folders {folders}" if folders else ""
                raise UserError(f"{path}: is a folder without data files ({', '.join(EXTENSIONS)}){below}")
            _check_one_split(path, found)
        elif glob.has_magic(str(path)) and not path.exists():
            found = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
            if not found:
                raise UserError(f"{path}: no file matches this pattern")
        else:
            return [path]
        kinds = sorted({extension(file) or file.suffix or file.name for file in found})
        if len(kinds) > 1:
            raise UserError(f"{path}: holds files of several kinds ({', '.join(kinds)}); name one by a pattern")
        return found


def _check_one_split(folder: Path, files: Sequence[Path]) -> None:
    numbered = {_NUMBERED.sub("", file.name) for file in files if _NUMBERED.search(file.name)}
    splits = {match[1].lower() for file in files if (match := _SPLIT.search(file.name.split(".")[0]))}
    for names in (numbered, splits):
        if len(names) > 1:
            raise UserError(
                f"{folder}: holds several data sets ({', '.join(sorted(names))}); name the files of one by a pattern, "
                f"as in {folder / f'{min(names)}*'}"
            )


@contextmanager
def opened(path: Path, pipes: bool = False) -> Iterator[BinaryIO]:
    """Open a data file: gzip is unpacked, text is converted to UTF-8 without a byte order mark.

    `pipes`: accept also what cannot be read twice.
    """
    with _refusing(path):
        if not path.exists():
            raise UserError(f"{path}: no such file")
        if path.is_dir():
            raise UserError(f"{path}: is a folder; name a file in it")
        if not (pipes or stat.S_ISREG(path.stat().st_mode)):
            raise UserError(f"{path}: is a pipe or a device; a file is needed, since it is read several times")
        with path.open("rb") as packed:
            file: Any = packed
            if starts(packed, _GZIP):
                file = io.BufferedReader(cast("Any", gzip.GzipFile(fileobj=packed)))
            elif path.suffix.lower() == ".gz":
                raise UserError(f"{path}: damaged gzip file, or none; if it was unpacked, take .gz off its name")
            elif not packed.peek(1):
                raise UserError(f"{path}: the file is empty")
            yield _decoded(file, path)


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn whatever the block raises into a UserError that names the file."""
    try:
        yield
    except UserError:
        raise
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}: damaged gzip file ({error})") from None
    except Exception as error:
        cause = getattr(error, "strerror", None) or f"{type(error).__name__}: {shortened(error)}"
        raise UserError(f"{path}: cannot be read ({cause})") from error


def starts(file: BinaryIO, magic: bytes) -> bool:
    """Whether the next bytes are `magic`; nothing is consumed."""
    return _head(file).startswith(magic)


def _head(file: Any) -> bytes:
    return cast("bytes", file.peek(64)[:64])


def _decoded(file: Any, path: Path) -> BinaryIO:
    """Return text as UTF-8 and Parquet as it is; UserError for files that are not supported."""
    head = _head(file)
    encoding = next((name for mark, name in _BOMS if head.startswith(mark)), None)
    encoding = encoding or _NULS.get(tuple(int(byte == 0) for byte in head[:4]))
    if encoding is not None:
        name = encoding[:6].upper()
        try:
            text = whole(file, path).decode(encoding)
        except ValueError as error:
            raise UserError(f"{path}: is {name}, and damaged ({error}); save it as UTF-8") from None
        return io.BufferedReader(cast("Any", io.BytesIO(text.removeprefix("\ufeff").encode("utf-8"))))
    for magic, what in _FOREIGN:
        if head.startswith(magic):
            raise UserError(f"{path}: is {what}")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise UserError(f"{path}: is a web page or XML; a page may have been saved in place of the data")
    if head.startswith(codecs.BOM_UTF8):
        file.read(len(codecs.BOM_UTF8))
    return cast("BinaryIO", file)


def whole(file: BinaryIO, path: Path) -> bytes:
    """The rest of a file; UserError if it is larger than `LARGEST_WHOLE`."""
    data = file.read(LARGEST_WHOLE + 1)
    if len(data) > LARGEST_WHOLE:
        raise UserError(
            f"{path}: unpacks to more than {LARGEST_WHOLE >> 20} MiB, which are read as a whole; write it as JSONL in "
            "UTF-8, one record a line, which is read piece by piece"
        )
    return data


def lines_of(file: BinaryIO, path: Path, first: int = 1) -> Iterator[bytes]:
    """The lines of a file, the next being number `first`; UserError if one is longer than `LONGEST_LINE`."""
    number = first
    while line := file.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE:
            raise UserError(
                f"{path}:{number}: a line of more than {LONGEST_LINE >> 20} MiB; a record is held in memory, so write "
                "it shorter, or each record on a line of its own"
            )
        yield line
        number += 1


def utf8(data: bytes, place: str, whole_file: bool = False) -> str:
    """Decode UTF-8; UserError at `place`, to which the line is added if `data` is a whole file."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{data[error.start]:02x} at {error.start}"
        where = f"{place}:{data.count(NEWLINE, 0, error.start) + 1}" if whole_file else place
        raise UserError(f"{where}: not text in UTF-8 ({byte}); save the file as UTF-8") from None


def json_value(data: bytes, place: str, whole_file: bool = False) -> Any:
    """Parse JSON; UserError at `place`, to which the line is added if `data` is a whole file."""
    text = utf8(data, place, whole_file)
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        where = f"{place}:{error.lineno}" if whole_file else place
        raise UserError(f"{where}: not JSON ({error.msg}, column {error.colno}{_cut(text, error.pos)})") from None
    except RecursionError:
        raise UserError(f"{place}: not JSON that can be read (brackets nested too deep)") from None
    except Exception as error:  # a duplicate name, or an integer with more digits than Python converts
        digits = "an integer of more than 4,300 digits; write it as text"
        reason = digits if "digits" in str(error) else shortened(error)
        raise UserError(f"{place}: not JSON that can be read ({reason})") from None


def json_objects(lines: Iterable[bytes], path: Path) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """(FILE:LINE, object) for each line of a JSONL file; None in place of a blank line."""
    for number, line in enumerate(lines, start=1):
        place = f"{path}:{number}"
        yield place, json_object(json_value(line, place), place) if line.strip() else None


def json_object(value: Any, place: str) -> dict[str, Any]:
    """The value itself; UserError if it is not a JSON object."""
    if not isinstance(value, dict):
        raise UserError(f"{place}: expected a JSON object, got {brief(value)}")
    return value


def brief(value: Any) -> str:
    """A value as JSON spells it, cut to 40 characters, since it may be a whole document."""
    try:
        text = json.dumps(value, default=repr)
    except RecursionError:
        text = f"a deeply nested {type(value).__name__}"
    return text if len(text) <= 40 else f"{text[:37]}..."


def _cut(text: str, position: int) -> str:
    return "; the text ends there, cut off" if not text[position:].strip() else ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice!r} comes twice in one object; which one counts?")
    return made


def shortened(error: BaseException) -> str:
    """Return the first line of a library's message, cut to 200 characters; further lines are its stack."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return text if len(text) <= 200 else f"{text[:197]}..."

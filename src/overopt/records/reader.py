"""The only reader of run directories. Line files are streamed, and a cut last line is skipped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import yaml

from overopt.datafiles import json_objects, opened, shortened
from overopt.errors import UserError
from overopt.records import layout
from overopt.records.hashing import Hashes, hash_file, hash_weights, model_files
from overopt.records.tail import Tail
from overopt.records.validation import fits_schema

T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """A run directory and its `run.json`. Everything else is read on demand."""

    path: Path
    info: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.info.get("name", self.path.resolve().name))

    @property
    def stage(self) -> str | None:
        return self.info.get("stage")

    @property
    def status(self) -> str:
        """`running` (also of a killed run), `interrupted`, `finished`, `stopped`, `diverged` or `failed`."""
        return str(self.info.get("status", "running"))

    @property
    def complete(self) -> bool:
        """Whether the run ended as configured, at its last step or by `stop_when`, and need not be repeated."""
        return self.status in ("finished", "stopped")

    @property
    def clock(self) -> datetime | None:
        """Local time at which the run began, as its chat template was told; `started` in older runs."""
        told = self.info.get("clock", self.info.get("started"))
        try:
            clock = None if told is None else datetime.fromisoformat(told)
        except ValueError as error:
            raise UserError(f"{self.path / layout.INFO}: {told!r} is no time ({error}); restore the file") from error
        return clock if clock is None or clock.tzinfo is None else clock.astimezone().replace(tzinfo=None)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration as a plain tree; locations in it are relative to the run directory."""
        file = self.path / layout.CONFIG
        try:
            tree = yaml.safe_load(file.read_text(encoding="utf-8"))
            json.dumps(tree, ensure_ascii=False, default=str).encode()  # refuses half a surrogate pair
        except FileNotFoundError:
            raise UserError(f"{file}: missing; the run's configuration has been removed") from None
        except Exception as error:  # a damaged file may raise anything
            raise UserError(f"{file}: not YAML: {error}") from error
        if not isinstance(tree, dict):
            raise UserError(f"{file}: not a mapping; the run's configuration has been changed")
        return tree

    def setting(self, name: str, kind: type[T] | tuple[type[T], ...]) -> T:
        """Return a value of the configuration; UserError if it is not of the required type."""
        value = self.config.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise UserError(f"{self.path / layout.CONFIG}: {name} is {value!r}; the file has been changed: restore it")
        return value

    def iter_metrics(self) -> Iterator[dict[str, Any]]:
        """Yield one row per step as written; absent values are missing, `nonfinite` names those not finite."""
        return Tail(self.path / layout.METRICS).rows()

    def metrics(self) -> dict[str, list[Any]]:
        """Return columns of equal length, `step` included; None where a value is absent or was not finite."""
        return _columns(self.iter_metrics())

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """Return the steps at which a metric is present, and its values; both may be empty."""
        points = [(row["step"], row[name]) for row in self.iter_metrics() if name in row]
        return [step for step, _ in points], [value for _, value in points]

    def timings(self) -> dict[str, list[Any]]:
        """Return columns of equal length, as `metrics` does."""
        return _columns(Tail(self.path / layout.TIMINGS).rows())

    def evaluations(self, judge: str | None = None) -> list[dict[str, Any]]:
        """Return evaluations by step: those made during the run or, for a named judge, all of that judge's.

        Of several with the same step, split, judge, prompt set, token limit and other side the last counts. A judge
        that was changed under its name has several `judge_hashes`: rows of all but the last are left out.
        """
        rows = list(Tail(self.path / layout.EVALUATIONS).rows())
        if judge is not None:
            rows = [row for row in rows if row.get("judge") == judge] + self._later(judge)
        latest = {self._key(row): row for row in rows}
        hashes = self.judge_hashes(judge) if judge is not None else []
        current = [row for row in latest.values() if row.get("judge_hash") in (None, *hashes[-1:])]
        return sorted(current, key=lambda row: row.get("step", 0))

    def judges(self) -> list[str]:
        """Return the judges by which there are win rates: the run's own first, then the others by name."""
        files = sorted((self.path / layout.LATER_EVALUATIONS).glob("*.jsonl"))
        own, *later = (
            {row["judge"]: None for row in Tail(file).rows() if "win_rate" in row and "judge" in row}
            for file in (self.path / layout.EVALUATIONS, *files)
        )
        return list(dict.fromkeys([*own, *sorted({name for names in later for name in names})]))

    def judge_hashes(self, judge: str) -> list[str]:
        """Return the hashes under which a judge's evaluations after the run were recorded; the last one counts."""
        hashes = [row["judge_hash"] for row in self._later(judge) if "judge_hash" in row]
        return list(dict.fromkeys(reversed(hashes)))[::-1]

    def is_ordinary(self, row: Mapping[str, Any]) -> bool:
        """Whether an evaluation or a sample compares with the references, at the run's own token limit."""
        return self._compared(row) == (None, None)

    def _later(self, judge: str) -> list[dict[str, Any]]:
        """A judge's lines after the run; names that differ in punctuation share a file."""
        rows = Tail(layout.judge_file(self.path, judge)).rows()
        return [row for row in rows if row.get("judge") == judge]

    def _key(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        return *(row.get(name) for name in ("step", "split", "judge", "prompt_set")), *self._compared(row)

    def _compared(self, row: Mapping[str, Any]) -> tuple[Any, Any]:
        """What a row compares with, and its token limit: None for the references, and for the run's own limit."""
        against, limit = row.get("against"), row.get("max_completion_tokens")
        own = limit is None or limit == self._token_limit
        return None if against == layout.REFERENCE else against, None if own else limit

    @cached_property
    def _token_limit(self) -> int | None:
        return self.config.get("max_completion_tokens") if (self.path / layout.CONFIG).is_file() else None

    def last_value(self, name: str) -> float | None:
        """Return a value of the last evaluation that has it; None if none has."""
        values = [row[name] for row in self.evaluations() if row.get(name) is not None]
        return float(values[-1]) if values else None

    def sample_steps(self) -> list[int]:
        return layout.steps_in(self.path / layout.SAMPLES, ".parquet")

    def samples(self, step: int) -> list[dict[str, Any]]:
        """Return all samples of a step, one dict per row."""
        rows: list[dict[str, Any]] = self._sample_table(step).to_pylist()
        return rows

    def sample_columns(self, step: int, names: Sequence[str]) -> dict[str, list[Any]]:
        """Return some columns only, without reading the others."""
        columns: dict[str, list[Any]] = self._sample_table(step, names).to_pydict()
        return columns

    def judgements(self, step: int) -> list[dict[str, Any]]:
        """Return the replies of language models about a step's completions; none if no such judge was asked."""
        file = layout.judgements_file(self.path, step)
        rows: list[dict[str, Any]] = read_table(file, layout.JUDGEMENT_COLUMNS).to_pylist() if file.exists() else []
        return rows

    def pairs(self) -> Iterator[dict[str, Any]]:
        """Yield the labelled pairs of a reward model's run."""
        file = self.path / layout.PAIRS
        if not file.exists():
            raise UserError(f"{file}: missing; only a reward model that was trained on sampled pairs records them")
        with opened(file) as lines:
            yield from (row for _, row in json_objects(lines, file) if row is not None)

    def checkpoints(self) -> list[int]:
        return layout.steps_in(self.path / layout.CHECKPOINTS)

    def checkpoint(self, step: int | None = None) -> Path:
        """Return the folder of a checkpoint, by default the last or, of a stopped run, the one to go back to."""
        steps = self.checkpoints()
        if step is None and self.info.get("go_back_to") in steps:
            step = int(self.info["go_back_to"])
        if not steps:
            raise UserError(f"{self.path}: has no checkpoint")
        if step is not None and step not in steps:
            raise UserError(f"{self.path}: has no checkpoint of step {step}, only of {', '.join(map(str, steps))}")
        return layout.checkpoint_folder(self.path, steps[-1] if step is None else step)

    def hash(self) -> str:
        """Return the SHA-256 of configuration, checkpoint and pairs, which a child records of its parent."""
        content = _bytes(self.path / layout.CONFIG) + hash_weights(self.checkpoint()).encode()
        pairs = self.path / layout.PAIRS
        return hashlib.sha256(content + (_bytes(pairs) if pairs.exists() else b"")).hexdigest()

    def files(self) -> Hashes:
        """Return the SHA-256 of each file that a child run uses: configuration, pairs, the checkpoint's files."""
        own = [self.path / name for name in (layout.CONFIG, layout.PAIRS)]
        checkpoint = self.checkpoint()
        place = checkpoint.relative_to(self.path).as_posix()
        return {file.name: hash_file(file) for file in own if file.is_file()} | {
            f"{place}/{name}": digest for name, digest in model_files(checkpoint).items()
        }

    def _sample_table(self, step: int, names: Sequence[str] = tuple(layout.SAMPLE_COLUMNS)) -> Any:
        file = layout.samples_file(self.path, step)
        if not file.exists():
            steps = ", ".join(map(str, self.sample_steps())) or "none"
            raise UserError(f"{file}: missing; steps with samples: {steps}")
        return read_table(file, {name: layout.SAMPLE_COLUMNS[name] for name in names})


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}; restore it") from error


LATER_COLUMNS = frozenset({"against", "max_completion_tokens"})
"""Columns that older files do not have; they are read as null."""


def read_table(file: Path, columns: Mapping[str, str]) -> Any:
    """Read columns of a Parquet file, given with their types."""
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema(columns.items())
    try:
        content = parquet.ParquetFile(file)
        table = content.read(columns=list(columns))
        for name in LATER_COLUMNS & columns.keys() - set(content.schema_arrow.names):
            table = table.append_column(name, pyarrow.nulls(len(table), columns[name]))
        return table.select(list(columns)).cast(schema)
    except Exception as error:  # a damaged file may raise anything
        raise UserError(
            f"{file}: cannot be read as Parquet ({shortened(error)}); restore it, or remove it to go without"
        ) from error


def load_run(path: Path | str) -> Run:
    """Open a run directory."""
    path = Path(path)
    file = path / layout.INFO
    if not path.is_dir():
        raise UserError(f"{path}: {'not a directory' if path.exists() else 'does not exist'}; expected a run directory")
    if not file.is_file():
        raise UserError(f"{path}: not a run directory, it holds no {layout.INFO}")
    try:
        info = json.loads(file.read_bytes())
        json.dumps(info, ensure_ascii=False).encode()  # refuses half a surrogate pair
    except Exception as error:  # also of brackets nested too deep
        raise UserError(f"{file}: not JSON: {error}") from error
    version = info.get("schema_version") if isinstance(info, dict) else None
    if not isinstance(version, int):
        raise UserError(f"{file}: has no schema_version; it was not written by overopt")
    if version > layout.SCHEMA_VERSION:
        raise UserError(
            f"{file}: schema_version {version}, but this overopt reads up to {layout.SCHEMA_VERSION}: upgrade"
        )
    _check_forms(file, info)
    return Run(path, info)


_FORMS: dict[str, Any] = {
    **dict.fromkeys(("name", "stage", "status", "prompt_style", "device", "started", "clock", "reason", "split"), str),
    **dict.fromkeys(
        ("seed", "steps", "threads", "processes", "go_back_to", "stopped_at", "diverged_at", "token_budget"), int
    ),
    **{name: {...: str} for name in ("data", "provenance")},
    **dict.fromkeys(("versions", "hardware"), dict | None),
    "dropped": {...: {...: int}},
    "kept": {...: int},
    "hub": {...: {"location": str, "revision": str, "commit": str}},
    "parents": [{"role": str, "path": str, "hash": str}],
    "resumes": [{"step": int, "time": str}],
}
"""Types of the fields of `run.json` that are read again, where they are present."""


def _check_forms(file: Path, info: dict[str, Any]) -> None:
    """Raise a UserError for fields of `run.json` that do not have the types overopt writes."""
    wrong = [name for name, form in _FORMS.items() if name in info and not fits_schema(info[name], form)]
    files = [parent.get("files", {}) for parent in info.get("parents", [])] if "parents" not in wrong else []
    if not all(fits_schema(found, {...: str}) for found in files):
        wrong.append("parents")
    if wrong:
        raise UserError(f"{file}: {', '.join(wrong)} not as overopt writes them; restore the file or repeat the run")


def find_runs(path: Path | str) -> list[Path]:
    """Return all run directories at or below a path, sorted by name."""
    path = Path(path)
    if not path.is_dir():
        raise UserError(f"{path}: {'not a directory' if path.exists() else 'does not exist'}")
    if (path / layout.INFO).is_file():
        return [path]
    return [
        run for entry in sorted(path.iterdir()) if entry.is_dir() and not entry.is_symlink() for run in find_runs(entry)
    ]


def find_readable_runs(path: Path, unreadable: list[str]) -> Iterator[Path]:
    """Run directories at or below a path. Folders that cannot be read are added to `unreadable` with the reason."""
    try:
        yield from find_runs(path)
    except UserError as error:
        unreadable.append(str(error))
    except OSError:
        try:
            folders = sorted(entry for entry in path.iterdir() if entry.is_dir())
        except OSError as error:
            unreadable.append(f"{path}: cannot be read ({error.strerror})")
            return
        for folder in folders:
            yield from find_readable_runs(folder, unreadable)


FileStamps = tuple[tuple[str, int, int], ...]
"""Name, modification time in ns, and size of each file or folder that a run writes."""


def file_stamps(path: Path) -> FileStamps:
    """The stamps of a run directory: they change whenever the run writes something."""
    stamps = []
    names = [layout.INFO, *layout.LINES, layout.SAMPLES, layout.CHECKPOINTS]
    later = sorted((path / layout.LATER_EVALUATIONS).glob("*.jsonl"))
    for name in names + [file.relative_to(path).as_posix() for file in later]:
        try:
            found = (path / name).stat()
        except OSError:
            continue
        stamps.append((name, found.st_mtime_ns, found.st_size))
    return tuple(stamps)


def hash_parent(path: Path) -> str:
    """Return the hash that a child records of its parent, a run or an ordinary model folder."""
    return load_run(path).hash() if (path / layout.INFO).is_file() else hash_weights(path)


def parent_files(path: Path) -> Hashes:
    """Return the SHA-256 of each file of a parent that a child's numbers depend on."""
    return load_run(path).files() if (path / layout.INFO).is_file() else model_files(path)


def _columns(rows: Iterable[dict[str, Any]]) -> dict[str, list[Any]]:
    """Turn rows into columns, with None for absent values; `step` comes first."""
    columns: dict[str, list[Any]] = {"step": []}
    for count, row in enumerate(rows):
        for name in row:
            if name not in columns and name != "nonfinite":
                columns[name] = [None] * count
        for name, column in columns.items():
            column.append(row.get(name))
    return columns

"""The only writer of run directories."""

from __future__ import annotations

import gzip
import json
import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, SupportsFloat

from overopt.errors import UserError
from overopt.records import layout
from overopt.records.atomic import (
    file_hashes,
    make_folder,
    remove_entry,
    remove_folder,
    remove_partial,
    replace_file,
    replace_json,
    sync_folder,
    to_plain,
    whole_folder,
    write_all,
    writing,
)
from overopt.records.environment import environment
from overopt.records.layout import COMPARED, JUDGEMENT_COLUMNS, SAMPLE_COLUMNS
from overopt.records.reader import load_run, read_table
from overopt.records.states import RETAINED, TENSORS, SavedState, checkpoints_of, prune, retained_states, write_state


class RunWriter:
    """Writes one run directory. A context manager that keeps its line files open until it is closed."""

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        self.path = path
        self.info = info
        self._lines: dict[Path, _LineFile] = {}

    @classmethod
    def create(cls, path: Path | str, config_yaml: str, info: Mapping[str, Any]) -> Self:
        """Start a run in a directory that holds none; a failure leaves nothing behind.

        `info` is added to the fields of every `run.json`: schema version, name, status, environment, start.
        """
        path = Path(path)
        _refuse_occupied(path, config_yaml)
        writer = cls(path, _first_info(path.resolve().name) | dict(info))
        made = make_folder(path)
        try:
            replace_file(path / layout.CONFIG, config_yaml.encode())
            writer.update()  # last, since run.json makes the directory a run
        except BaseException:
            clear_run(path)
            with suppress(OSError):  # another run may have been made in a parent meanwhile
                for folder in made:
                    folder.rmdir()
            raise
        return writer

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open an existing run, to add a re-evaluation."""
        run = load_run(path)
        return cls(run.path, dict(run.info))

    @classmethod
    def resume(cls, path: Path | str, state: SavedState, config_yaml: str) -> Self:
        """Resume from a saved state; what was recorded after it is removed, since it will be recorded again."""
        writer = cls.open(path)
        if (writer.path / layout.CONFIG).read_bytes() != config_yaml.encode():  # the run was copied to another place
            replace_file(writer.path / layout.CONFIG, config_yaml.encode())
        writer.info.pop("finished", None)
        resumes = [*writer.info.get("resumes", []), {"step": state.step, "time": _now()}]
        writer.update(status="running", resumes=resumes)
        writer._cut(state)  # last: if nothing can be written, nothing is removed
        return writer

    def _cut(self, state: SavedState) -> None:
        for folder in (".", layout.SAMPLES, layout.JUDGEMENTS, layout.CHECKPOINTS, layout.STATES):
            remove_partial(self.path / folder)
        states = [step for step in retained_states(self.path) if step <= state.step]
        prune(self.path, states, state.checkpoints)
        for name in layout.LINES:
            if (self.path / name).exists():
                os.truncate(self.path / name, state.lengths.get(name, 0))
        for step in layout.steps_in(self.path / layout.SAMPLES, ".parquet"):
            if step > state.step:
                remove_folder(layout.samples_file(self.path, step))

    def log(self, step: int, metrics: Mapping[str, SupportsFloat | None]) -> None:
        """Append a step's metrics: deterministic values only, at full precision."""
        self._line(self.path / layout.METRICS, {"step": step, **metrics})

    def log_timings(self, step: int, timings: Mapping[str, SupportsFloat | None]) -> None:
        """Append a step's wall-clock times in seconds, and its throughput."""
        self._line(self.path / layout.TIMINGS, {"step": step, **timings})

    def log_evaluation(self, row: Mapping[str, Any]) -> None:
        """Append an evaluation made during the run."""
        self._line(self.path / layout.EVALUATIONS, row)

    def log_reevaluation(self, judge: str, row: Mapping[str, Any]) -> None:
        """Append an evaluation made after the run; the last one of the same comparison counts."""
        self._line(layout.judge_file(self.path, judge), {**row, "judge": judge})

    def write_samples(self, step: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write a step's completions, one row per prompt, in place of rows of the same comparison."""
        _write_table(layout.samples_file(self.path, step), SAMPLE_COLUMNS, [{**row, "step": step} for row in rows])

    def write_judgements(self, step: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write the replies of a language model about a step's completions, in place of those of the same comparison.

        Without rows no file is made.
        """
        if found := [{**row, "step": step} for row in rows]:
            _write_table(layout.judgements_file(self.path, step), JUDGEMENT_COLUMNS, found)

    def write_pairs(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write all labelled pairs."""
        text = "".join(_dumps(row) + "\n" for row in rows)
        replace_file(self.path / layout.PAIRS, gzip.compress(text.encode(), mtime=0))  # no time: same pairs, same bytes

    def checkpoint(self, step: int) -> AbstractContextManager[Path]:
        """Give a folder to write a checkpoint into; it becomes `checkpoints/step-N` once the block has succeeded."""
        return whole_folder(layout.checkpoint_folder(self.path, step))

    def lengths(self) -> dict[str, int]:
        """Flush the line files to the disk and return the size of each in bytes."""
        for lines in self._lines.values():
            lines.sync()
        sync_folder(self.path)
        files = {name: self.path / name for name in layout.LINES}
        return {name: file.stat().st_size for name, file in files.items() if file.exists()}

    def checkpoint_hashes(self, step: int) -> dict[str, str]:
        """Return the SHA-256 of each file of a checkpoint."""
        return file_hashes(layout.checkpoint_folder(self.path, step))

    def commit_state(
        self,
        step: int,
        checkpoints: dict[int, dict[str, str]],
        trainer: dict[str, Any],
        write_tensors: Callable[[Path], None],
    ) -> None:
        """Save a state to resume from; then remove the checkpoints that no retained state needs."""
        file = layout.state_folder(self.path, step) / TENSORS
        write_state(self.path, SavedState(step, self.lengths(), checkpoints, trainer, file), write_tensors)
        retained = retained_states(self.path)[-RETAINED:]
        needed = {kept for other in retained for kept in checkpoints_of(self.path, other)}
        prune(self.path, retained, needed | checkpoints.keys())

    def keep_checkpoints(self, steps: Collection[int]) -> None:
        """Remove all other checkpoints."""
        prune(self.path, retained_states(self.path), steps)

    def update(self, **fields: Any) -> None:
        """Change fields of `run.json`."""
        self.info = {**self.info, **fields}
        replace_json(self.path / layout.INFO, self.info)

    def finish(self, status: str, **fields: Any) -> None:
        """Close the run as `finished`, `diverged` or `failed`."""
        self.update(status=status, finished=_now(), **fields)
        self.close()

    def close(self) -> None:
        for lines in self._lines.values():
            lines.close()
        self._lines.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _line(self, file: Path, row: Mapping[str, Any]) -> None:
        if file not in self._lines:
            self._lines[file] = _LineFile(file)
        self._lines[file].write(_dumps(row))


def clear_run(path: Path | str) -> None:
    """Remove a run's own files from a directory; other files stay."""
    for name in layout.EVERYTHING:
        remove_entry(Path(path) / name)


class _LineFile:
    """A file to which whole lines are appended, each in one write."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with writing(path):
            path.parent.mkdir(exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        self._drop_cut_line()

    def write(self, line: str) -> None:
        size = os.fstat(self._file).st_size
        with writing(self.path):
            try:
                write_all(self._file, line.encode() + b"\n")
            except BaseException:
                os.ftruncate(self._file, size)  # back to the last whole line
                raise

    def sync(self) -> None:
        with writing(self.path):  # network file systems report a full quota late
            os.fsync(self._file)

    def close(self) -> None:
        with writing(self.path):
            os.close(self._file)

    def _drop_cut_line(self) -> None:
        """Remove half a line that a killed process may have left."""
        content = self.path.read_bytes()
        if not content.endswith(b"\n"):
            os.ftruncate(self._file, content.rfind(b"\n") + 1)


def _first_info(name: str) -> dict[str, Any]:
    return {
        "schema_version": layout.SCHEMA_VERSION,
        "name": name,
        "status": "running",
        **environment(),
        "started": _now(),
        "resumes": [],
    }


def _refuse_occupied(path: Path, config_yaml: str) -> None:
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: is a file, but a run needs a directory; choose another one")
    for name in layout.EVERYTHING:
        if name == layout.CONFIG and _is_leftover(path / name, config_yaml):
            continue
        if (path / name).exists():
            raise UserError(f"{path}: already holds {name}; nothing was overwritten, choose another directory")


def _is_leftover(config: Path, config_yaml: str) -> bool:
    """Whether the configuration was left by this run, killed before it had a run.json."""
    return config.is_file() and config.read_bytes() == config_yaml.encode()


def _dumps(row: Mapping[str, Any]) -> str:
    """Encode a row as strict JSON: values that are not finite are listed in `nonfinite`, absent ones left out."""
    plain = {name: to_plain(value) for name, value in row.items() if value is not None}
    nonfinite = [name for name, value in plain.items() if _is_nonfinite(value)]
    finite = {name: value for name, value in plain.items() if name not in nonfinite}
    return json.dumps(finite | ({"nonfinite": nonfinite} if nonfinite else {}), allow_nan=False, default=to_plain)


def _is_nonfinite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _write_table(file: Path, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows to a Parquet file, in place of those of the same comparisons."""
    new = [_table_row(row, columns) for row in rows]
    keys = {_comparison(row) for row in new}
    before = read_table(file, columns).to_pylist() if file.exists() else []
    replace_file(file, _parquet([row for row in before if _comparison(row) not in keys] + new, columns))


def _table_row(row: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    if unknown := row.keys() - columns.keys():
        raise ValueError(f"the file has no column {', '.join(sorted(unknown))}")
    plain = {name: to_plain(value) for name, value in row.items()}
    return {name: None if _is_nonfinite(value) else value for name, value in plain.items()}


def _comparison(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in COMPARED)


def _parquet(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.Table.from_pylist(rows, schema=pyarrow.schema(columns.items()))
    buffer = pyarrow.BufferOutputStream()
    parquet.write_table(table, buffer, compression="zstd")
    content: bytes = buffer.getvalue().to_pybytes()
    return content


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

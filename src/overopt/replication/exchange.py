"""A study's runs as a few Parquet files: everything that claims and figures read, in a few megabytes.

`runs.parquet` has a row for each run, `series.parquet` for each run and step, `evaluations.parquet` for each evaluation
and `prompts.parquet` for each prompt of an evaluated step; `study.json` says what the study planned. A null is an
absent value. Values are of single precision, except the numbers behind a label, which are kept exactly.
"""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overopt.datafiles import json_object, json_value, shortened
from overopt.errors import UserError
from overopt.outcomes import Outcome
from overopt.records.atomic import replace_file, replace_json, to_plain
from overopt.records.layout import MEMBERS
from overopt.replication.members import Member, Members, Points, load_members

SCHEMA = 1
RUNS = "runs.parquet"
SERIES = "series.parquet"
EVALUATIONS = "evaluations.parquet"
PROMPTS = "prompts.parquet"
STUDY = "study.json"

KEPT: Mapping[str, tuple[str, ...]] = {
    "online": (
        *("lr", "grad_norm", "score_mean", "score_sd", "bonus_mean", "rlhf_reward", "gold_mean", "kl_ref", "kl_prev"),
        *(
            "kl_prev_reverse",
            "approxkl",
            "neg_logp_tok",
            "entropy_tok",
            "ratio_var",
            "clipfrac",
            "len_mean",
            "eos_rate",
        ),
    ),
    "offline": (
        *("lr", "loss", "grad_norm", "rewards_chosen", "rewards_rejected", "rewards_acc", "rewards_margin"),
        *("logps_chosen_sum", "logps_chosen_mean", "logps_rejected_sum", "logps_rejected_mean"),
        *("logits_chosen", "logits_rejected", "ref_margin", "ref_margin_sd", "ref_margin_iqr"),
    ),
}
"""Metrics of training that a claim, a figure or a question reads, by stage; none is about how SFT or reward models
train."""

METRICS = tuple(dict.fromkeys(name for names in KEPT.values() for name in names))

Columns = Mapping[str, str]
"""Names of columns and their types, as pyarrow calls them."""

RUN_COLUMNS: Columns = {
    **dict.fromkeys(("name", "row", "setting"), "string"),
    "seed": "int32",
    **dict.fromkeys(("stage", "status", "commit", "parents", "config", "label", "reason", "numbers"), "string"),
    "stable": "bool",
    "p": "double",
    "past_peak": "bool",
}
"""`setting`, `parents`, `config` and `numbers` are JSON; label to past_peak are the run's outcome."""
SERIES_COLUMNS: Columns = {"run": "string", "step": "int32", **dict.fromkeys(METRICS, "float")}
EVALUATION_COLUMNS: Columns = {"run": "string", "step": "int32"}
"""The other columns are whatever the evaluations hold."""
PROMPT_COLUMNS: Columns = {"run": "string", "step": "int32", "prompt": "string", "outcome": "float", "proxy": "float"}

TYPES: Mapping[type, str] = {str: "string", bool: "bool", int: "int32", float: "float"}
"""Types of an evaluation's values."""

Table = Any
"""A `pyarrow.Table`: pyarrow is imported when a file is read or written, and has no types."""


def write_exchange(members: Members, folder: Path) -> list[Path]:
    """Write the runs into a folder and return the files.

    Of the metrics of training those in `KEPT` are written, and of the proxy's scores by prompt those of the first and
    the last evaluation.
    """
    if (folder / MEMBERS).exists():
        raise UserError(f"{folder}: holds the study's own runs; name another folder for the Parquet files")
    tables = {
        RUNS: _table([_run_row(run) for run in members.runs], RUN_COLUMNS),
        SERIES: _table(list(_series_rows(members.runs)), SERIES_COLUMNS),
        EVALUATIONS: _evaluations(members.runs),
        PROMPTS: _table(_prompt_rows(members.runs), PROMPT_COLUMNS),
    }
    for name, table in tables.items():
        replace_file(folder / name, _parquet(table))
    planned = [list(plan) for plan in members.planned]
    about = {"schema": SCHEMA, "study": members.study, "scale": members.scale, "planned": planned}
    replace_json(folder / STUDY, about)
    return [folder / name for name in (STUDY, *tables)]


def read_exchange(folder: Path) -> Members:
    """Read what `write_exchange` wrote; UserError for a file that is missing, damaged or of a later version."""
    about = _about(folder / STUDY)
    series = _series(_read(folder / SERIES, SERIES_COLUMNS))
    evaluations = _by_run(_read(folder / EVALUATIONS, EVALUATION_COLUMNS))
    won, proxy = _by_prompt(_read(folder / PROMPTS, PROMPT_COLUMNS))
    runs = []
    for row in _read(folder / RUNS, RUN_COLUMNS).to_pylist():
        name = row["name"]
        measured = {
            "series": series.get(name, {}),
            "evaluations": evaluations.get(name, []),
            "won": won.get(name, {}),
            "proxy": proxy.get(name, {}),
        }
        runs.append(_member(row, f"{folder / RUNS}: {name}", measured))
    return Members(about["study"], about["scale"], tuple(runs), about["planned"])


def read_study(folder: Path, judge: str | None = None) -> Members:
    """Read the runs of a study from its Parquet files, if the folder holds them, or else from its run directories.

    The files know the outcomes by each run's own judge alone; a `judge` takes the run directories.
    """
    if not (folder / RUNS).exists():
        return load_members(folder, judge)
    if judge is not None:
        raise UserError(f"--judge {judge}: {folder} has the outcomes by the runs' own judges; name the study's folder")
    return read_exchange(folder)


def _run_row(run: Member) -> dict[str, Any]:
    return {
        **{name: getattr(run, name) for name in ("name", "row", "seed", "stage", "status", "commit")},
        **{name: json.dumps(getattr(run, name), default=to_plain) for name in ("setting", "parents", "config")},
        **{name: getattr(run.outcome, name) for name in ("label", "reason", "stable", "p", "past_peak")},
        "numbers": json.dumps(run.outcome.numbers, default=to_plain),
    }


def _member(row: Mapping[str, Any], place: str, measured: Mapping[str, Any]) -> Member:
    def tree(name: str) -> dict[str, Any]:
        return json_object(json_value((row[name] or "").encode(), f"{place}: {name}"), f"{place}: {name}")

    same = {name: row[name] for name in ("name", "row", "seed", "stage", "status", "commit")}
    trees: dict[str, Any] = {name: tree(name) for name in ("setting", "parents", "config")}
    outcome = Outcome(row["label"], row["reason"], tree("numbers"), row["stable"], row["p"], row["past_peak"])
    return Member(**same, **trees, **measured, outcome=outcome)


def _series_rows(runs: Iterable[Member]) -> Iterator[dict[str, Any]]:
    for run in runs:
        rows: dict[int, dict[str, float]] = defaultdict(dict)
        for name in KEPT.get(run.stage, ()):
            for step, value in zip(*run.series.get(name, ((), ())), strict=True):
                rows[int(step)][name] = value
        yield from ({"run": run.name, "step": step, **values} for step, values in sorted(rows.items()))


def _series(table: Table) -> dict[str, dict[str, Points]]:
    """Series by run and metric."""
    series: dict[str, dict[str, Points]] = defaultdict(dict)
    steps = table["step"].to_numpy().astype(float)
    rows_of = _rows_of(table)
    for name in METRICS:
        values = table[name].to_numpy().astype(float)  # a null is NaN
        for run, rows in rows_of.items():
            known = rows[np.isfinite(values[rows])]
            if known.size:
                series[run][name] = steps[known], values[known]
    return series


def _evaluations(runs: Iterable[Member]) -> Table:
    """All evaluations, with a column for each name that one of them has; whole numbers stay whole."""
    rows = [{"run": run.name, **row} for run in runs for row in run.evaluations]
    columns = dict(EVALUATION_COLUMNS)
    for row in rows:
        for name, value in row.items():
            kind = TYPES.get(type(value))
            if kind and columns.get(name) != "float":
                columns[name] = kind
    return _table(rows, columns)


def _by_run(table: Table) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in table.to_pylist():
        rows[row.pop("run")].append({name: value for name, value in row.items() if value is not None})
    return rows


def _prompt_rows(runs: Sequence[Member]) -> list[dict[str, Any]]:
    """Outcomes and proxies by step, run and prompt; side by side, the equal values of step 0 take little room."""
    rows = []
    for run in runs:
        scored = [step for step, scores in run.proxy.items() if scores]
        ends = (min(scored), max(scored)) if scored else ()
        for step in run.won.keys() | run.proxy.keys():
            won, proxy = run.won.get(step, {}), run.proxy.get(step, {}) if step in ends else {}
            for prompt in dict.fromkeys([*won, *proxy]):
                values = {"outcome": won.get(prompt), "proxy": proxy.get(prompt)}
                rows.append({"run": run.name, "step": step, "prompt": prompt, **values})
    return sorted(rows, key=lambda row: int(row["step"]))


ByPrompt = dict[str, dict[int, dict[str, float]]]
"""Values by run, step and prompt."""


def _by_prompt(table: Table) -> tuple[ByPrompt, ByPrompt]:
    """Outcomes, and proxies."""
    prompts = np.array(table["prompt"].to_pylist(), dtype=object)
    steps = table["step"].to_numpy()
    found: list[ByPrompt] = []
    rows_of = _rows_of(table)
    for name in ("outcome", "proxy"):
        values = table[name].to_numpy()  # a null is NaN
        by_run: ByPrompt = defaultdict(dict)
        for run, rows in rows_of.items():
            known = rows[np.isfinite(values[rows])]
            for step in dict.fromkeys(steps[known].tolist()):
                here = known[steps[known] == step]
                by_run[run][step] = dict(zip(prompts[here], values[here].tolist(), strict=True))
        found.append(by_run)
    return found[0], found[1]


def _rows_of(table: Table) -> dict[str, NDArray[np.int64]]:
    """Places of each run's rows, in order."""
    runs = table["run"].combine_chunks().dictionary_encode()
    numbers = runs.indices.to_numpy()
    parts = np.split(np.argsort(numbers, kind="stable"), np.cumsum(np.bincount(numbers)))
    return dict(zip(runs.dictionary.to_pylist(), parts, strict=False))  # behind the last part is an empty one


def _about(file: Path) -> dict[str, Any]:
    """What `study.json` says: study, scale, and planned as (row, setting, seed)."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}") from error
    about = json_object(json_value(content, str(file), whole_file=True), str(file))
    schema = about.get("schema")
    if not isinstance(schema, int):
        raise UserError(f"{file}: has no schema; it does not belong to {RUNS}")
    if schema > SCHEMA:
        raise UserError(f"{file}: schema {schema}, but this overopt reads up to {SCHEMA}: upgrade")
    try:
        planned = tuple((str(row), dict(setting), int(seed)) for row, setting, seed in about["planned"])
        return {"study": str(about["study"]), "scale": str(about["scale"]), "planned": planned}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file}: not as overopt writes it ({shortened(error)}); restore the file") from error


def _table(rows: list[dict[str, Any]], columns: Columns) -> Table:
    import pyarrow

    return pyarrow.Table.from_pylist(rows, schema=pyarrow.schema(list(columns.items())))


def _parquet(table: Table) -> bytes:
    """A Parquet file's bytes: few different values are numbered, the bytes of others stored by significance."""
    from pyarrow import parquet

    kinds = {field.name: str(field.type) for field in table.schema}
    numbered = [name for name, kind in kinds.items() if kind == "string" or name == "outcome"]
    floats = [name for name, kind in kinds.items() if kind == "float" and name not in numbered]
    file = io.BytesIO()
    parquet.write_table(
        table, file, compression="zstd", compression_level=19, use_dictionary=numbered, use_byte_stream_split=floats
    )
    return file.getvalue()


def _read(file: Path, columns: Columns) -> Table:
    """A table with at least these columns, of these types."""
    from pyarrow import parquet

    if not file.exists():
        raise UserError(f"{file}: missing; {file.parent} is not a whole study: restore the file")
    try:
        table = parquet.read_table(file, partitioning=None)
        for name, kind in columns.items():
            place = table.schema.get_field_index(name)
            if place < 0:
                raise UserError(f"{file}: has no column {name!r}; it was not written by overopt")
            table = table.set_column(place, name, table[name].cast(kind))
        return table
    except UserError:
        raise
    except Exception as error:  # a damaged file may raise anything
        raise UserError(f"{file}: cannot be read as Parquet ({shortened(error)}); restore the file") from error

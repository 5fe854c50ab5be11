"""Names inside a run directory and inside a study's folder, shared by their writers and readers."""

from __future__ import annotations

import re
from pathlib import Path

SCHEMA_VERSION = 1

CONFIG = "config.yaml"
INFO = "run.json"
METRICS = "metrics.jsonl"
TIMINGS = "timings.jsonl"
EVALUATIONS = "evaluations.jsonl"
LATER_EVALUATIONS = "evaluations"
SAMPLES = "samples"
PAIRS = "pairs.jsonl.gz"
REFERENCE_LOGPS = "reference_logps.safetensors"
CHECKPOINTS = "checkpoints"
STATES = "trainer"
LOCK = ".lock"

RUNS = "runs"
CLAIM = "study.json"
SUMMARY = "summary.json"
MEMBERS = "members.json"
"""Names inside a study's folder: its run directories, the study that it belongs to, a row for each judged run, and
the row, setting and seed of every run."""

LINES = (METRICS, TIMINGS, EVALUATIONS)
"""Files to which a run appends a line at its steps."""

EVERYTHING = (
    *(STATES, METRICS, TIMINGS, EVALUATIONS, LATER_EVALUATIONS, SAMPLES, PAIRS, REFERENCE_LOGPS, CHECKPOINTS),
    *(INFO, CONFIG),
)
"""Everything that a run may write at the top of its directory, in the order of removal: trainer states first, so that
no run resumes from a record half removed, and its identity last, so that an interrupted removal can be repeated."""


SAMPLE_COLUMNS = {
    "step": "int64",
    "prompt_id": "string",
    "split": "string",
    "judge": "string",
    "prompt": "string",
    "reference": "string",
    "completion": "string",
    "ended": "bool",
    "proxy": "double",
    "gold": "double",
    "reference_gold": "double",
    "outcome": "double",
    "length": "int64",
    "logp": "double",
}
"""Columns of `samples/step-N.parquet` and their types; any value may be null.

`outcome` is 1 for a win against the reference, .5 for a tie, 0 for a loss, null if the judge's answer was invalid;
`logp` is the greedy completion's log-probability at temperature 1, nats; `proxy` the reward model's score.
"""


def samples_file(run: Path, step: int) -> Path:
    return run / SAMPLES / f"step-{step}.parquet"


def checkpoint_folder(run: Path, step: int) -> Path:
    return run / CHECKPOINTS / f"step-{step}"


def state_folder(run: Path, step: int) -> Path:
    return run / STATES / f"step-{step}"


def judge_file(run: Path, judge: str) -> Path:
    """Return a judge's file, with dashes for slashes or colons in the judge's name (`openai/gpt-4o-mini:j1`)."""
    return run / LATER_EVALUATIONS / (re.sub(r"[^\w.+-]+", "-", judge) + ".jsonl")


def steps_in(folder: Path, suffix: str = "") -> list[int]:
    """Return the N of every `step-N` in a folder, sorted; incomplete ones have other names."""
    if not folder.is_dir():
        return []
    pattern = re.compile(rf"step-(\d+){re.escape(suffix)}")
    return sorted(int(match[1]) for entry in folder.iterdir() if (match := pattern.fullmatch(entry.name)))

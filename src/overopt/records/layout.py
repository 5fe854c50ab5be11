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
JUDGEMENTS = "judgements"
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
    *(
        STATES,
        METRICS,
        TIMINGS,
        EVALUATIONS,
        LATER_EVALUATIONS,
        SAMPLES,
        JUDGEMENTS,
        PAIRS,
        REFERENCE_LOGPS,
        CHECKPOINTS,
    ),
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
    "against": "string",
    "max_completion_tokens": "int64",
}
"""Columns of `samples/step-N.parquet` and their types; any value may be null.

`against` is null if the other completion is the reference, and `max_completion_tokens` if the limit is the run's own.
`outcome` is 1 for a win against the reference, .5 for a tie, 0 for a loss, null if the judge's answer was invalid;
`logp` is the greedy completion's log-probability at temperature 1, nats; `proxy` the reward model's score.
"""


JUDGEMENT_COLUMNS = {
    "step": "int64",
    "split": "string",
    "prompt_id": "string",
    "judge": "string",
    "judge_hash": "string",
    "prompt_name": "string",
    "prompt_hash": "string",
    "against": "string",
    "max_completion_tokens": "int64",
    "ours_position": "string",
    "raw_reply": "string",
    "verdict": "string",
    "attempts": "int64",
    "date": "string",
}
"""Columns of `judgements/step-N.parquet`, one row per reply of a language model, and their types.

`against` and `max_completion_tokens` are null where those of the samples are.
"""

COMPARED = ("split", "judge", "against", "max_completion_tokens", "prompt_id")
"""What says which comparison a row of samples or judgements is about."""
REFERENCE = "reference"
"""What completions are compared with unless an evaluation says otherwise."""


def samples_file(run: Path, step: int) -> Path:
    return run / SAMPLES / f"step-{step}.parquet"


def judgements_file(run: Path, step: int) -> Path:
    return run / JUDGEMENTS / f"step-{step}.parquet"


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

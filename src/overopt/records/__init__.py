"""The run directory: the only interface between training and everything that reads its results.

| file                          | what                                                                                 |
|-------------------------------|--------------------------------------------------------------------------------------|
| `config.yaml`                 | the configuration; rebuilds the stage                                                |
| `run.json`                    | schema version, status, versions, commit, seed, hashes of parents, data and code     |
| `metrics.jsonl`               | one object per step; deterministic values only                                       |
| `timings.jsonl`               | wall clock and throughput, one object per step                                       |
| `evaluations.jsonl`           | evaluations during the run, keyed by step, split, judge and prompt set               |
| `evaluations/JUDGE.jsonl`     | re-evaluations after the run, in the same form                                       |
| `samples/step-N.parquet`      | one row per prompt and evaluation: paired differences are computed without a model   |
| `judgements/step-N.parquet`   | one row per reply of a language model that judges                                    |
| `pairs.jsonl.gz`              | labelled pairs of a reward model that was trained on sampled completions             |
| `reference_logps.safetensors` | the reference's log-probabilities of an offline run's pairs, computed once          |
| `checkpoints/step-N/`         | Hugging Face folders                                                                 |
| `trainer/step-N/`             | while the run is unfinished: the trainer state after N steps, to resume from         |

Lines are written whole, other files by an atomic rename, so a killed run stays readable. A missing value is absent,
never 0; a metric that is not finite is left out and named under `nonfinite`.
Neither torch nor pandas is imported here.
"""

from overopt.records.dropped import describe_dropped
from overopt.records.environment import environment
from overopt.records.hashing import Hashes, changed, hash_file, hash_weights, model_files
from overopt.records.layout import REFERENCE, SAMPLE_COLUMNS
from overopt.records.lock import RunLock
from overopt.records.reader import (
    FileStamps,
    Run,
    file_stamps,
    find_readable_runs,
    find_runs,
    hash_parent,
    load_run,
    parent_files,
)
from overopt.records.states import remove_states
from overopt.records.validation import fits_schema, reading_run
from overopt.records.writer import RunWriter, clear_run

__all__ = [
    "REFERENCE",
    "SAMPLE_COLUMNS",
    "FileStamps",
    "Hashes",
    "Run",
    "RunLock",
    "RunWriter",
    "changed",
    "clear_run",
    "describe_dropped",
    "environment",
    "file_stamps",
    "find_readable_runs",
    "find_runs",
    "fits_schema",
    "hash_file",
    "hash_parent",
    "hash_weights",
    "load_run",
    "model_files",
    "parent_files",
    "reading_run",
    "remove_states",
]

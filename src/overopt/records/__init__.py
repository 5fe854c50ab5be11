"""The run directory: the only interface between training and everything that looks at it.

| file                          | what                                                                                 |
|-------------------------------|--------------------------------------------------------------------------------------|
| `config.yaml`                 | the configuration; rebuilds the stage                                                |
| `run.json`                    | schema version, status, versions, commit, seed, parents, data and code, left out  |
| `metrics.jsonl`               | one object a step; deterministic values only                                         |
| `timings.jsonl`               | wall clock and throughput, one object a step                                         |
| `evaluations.jsonl`           | evaluations that the run made itself, keyed by step, split, judge and prompt set     |
| `evaluations/JUDGE.jsonl`     | later ones, the same form                                                            |
| `samples/step-N.parquet`      | a row for each prompt and evaluation, so that paired differences never need a model  |
| `pairs.jsonl.gz`              | labelled pairs, of a reward model trained on samples                                 |
| `reference_logps.safetensors` | what the reference says of each pair that an offline run uses, asked once            |
| `checkpoints/step-N/`         | Hugging Face folders                                                                 |
| `trainer/step-N/`             | while the run is unfinished: what it goes on from after N steps                      |

Lines are written whole, other files by an atomic rename: a run that was killed stays readable.
A missing value is absent, never 0. A metric that is not finite is left out and named under `nonfinite`.
Neither torch nor pandas is imported here.
"""

from overopt.records.dropped import describe_dropped
from overopt.records.environment import environment
from overopt.records.hashing import Hashes, changed, hash_file, hash_weights, model_files
from overopt.records.layout import SAMPLE_COLUMNS
from overopt.records.lock import RunLock
from overopt.records.reader import Run, find_runs, hash_parent, load_run, parent_files
from overopt.records.states import remove_states
from overopt.records.validation import fits_schema, reading_run
from overopt.records.writer import RunWriter, clear_run

__all__ = [
    "SAMPLE_COLUMNS",
    "Hashes",
    "Run",
    "RunLock",
    "RunWriter",
    "changed",
    "clear_run",
    "describe_dropped",
    "environment",
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

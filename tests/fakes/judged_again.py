"""Runs that another judge has judged after their end, as `overopt evaluate` leaves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from overopt.records import RunWriter, load_run
from overopt.statistics import wilson

MODEL = "openai/m:j1"


def judge_again(
    path: Path,
    outcomes: Mapping[int, Sequence[float | None]],
    judge: str = MODEL,
    *,
    replies: Mapping[int, Sequence[str]] | None = None,
    **place: Any,
) -> None:
    """Judge the run's own completions of some steps: outcomes by step, one for each prompt in the order of the samples.

    `place` is written into the evaluations and, where they have that column, into the samples: split, against,
    max_completion_tokens, judge_hash. `replies` are by step, one for each prompt.
    """
    run = load_run(path)
    with RunWriter.open(path) as writer:
        for step, column in outcomes.items():
            own = [row for row in run.samples(step) if run.is_ordinary(row)]
            own = [row for row in own if (row["judge"], row["split"]) == (own[0]["judge"], own[0]["split"])]
            asked = {name: value for name, value in place.items() if name in own[0]}
            rows = [row | {"judge": judge, "outcome": value} | asked for row, value in zip(own, column, strict=True)]
            writer.write_samples(step, rows)
            same = {name: row[name] for row in run.evaluations() for name in ("split", "prompt_set") if name in row}
            writer.log_reevaluation(judge, {"step": step, **same, **_rates(column), **place})
            said = (replies or {}).get(step, ())
            writer.write_judgements(
                step, [_reply(row, judge, text, place) for row, text in zip(rows, said, strict=False)]
            )


def _rates(column: Sequence[float | None]) -> dict[str, Any]:
    judged = [value for value in column if value is not None]
    counts = {"n": len(judged), "invalid": len(column) - len(judged)}
    if not judged:
        return counts
    low, high = wilson(sum(judged), len(judged))
    return counts | {"win_rate": sum(judged) / len(judged), "win_rate_low": low, "win_rate_high": high}


def _reply(row: Mapping[str, Any], judge: str, text: str, place: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "split": row["split"], "prompt_id": row["prompt_id"], "judge": judge, "judge_hash": place.get("judge_hash"),
        "against": row["against"], "max_completion_tokens": row["max_completion_tokens"], "ours_position": "A",
        "raw_reply": text, "verdict": "ours", "attempts": 1, "date": "2026-01-01T00:00:00",
    }  # fmt: skip

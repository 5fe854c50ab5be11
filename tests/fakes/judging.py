"""A process that judges: `judging.py CACHE RESULT SETTINGS PAIRS` writes its judgements as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from overopt.config import load
from overopt.evaluation.judges.base import Comparison, Situation
from overopt.evaluation.judges.openai import OpenAI
from overopt.types import Completion, PromptRecord


def comparisons(n: int) -> list[Comparison]:
    return [
        Comparison(PromptRecord(f"{i}", f"post {i}"), Completion(f"ours {i}"), Completion(f"theirs {i}"), f"{i}")
        for i in range(n)
    ]


def main(cache: str, result: str, settings: str, pairs: str) -> None:
    judge: Any = load(OpenAI, json.loads(settings))
    judgements = judge.judge(comparisons(int(pairs)), Situation(cache=Path(cache)))
    rows = [[j.outcome, [[r.ours_position, r.verdict, r.text, r.attempts] for r in j.replies]] for j in judgements]
    Path(result).write_text(json.dumps(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])

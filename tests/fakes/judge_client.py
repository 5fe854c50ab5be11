"""Judges the hundred shortest pairs of LLMBar by the `openai` judge, as a process that a test can kill.

    python judge_client.py MODEL CACHE SENT OUT

SENT gets a byte for every request that is sent, OUT the judgements as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from overopt.errors import UserError
from overopt.evaluation.judges.base import Answer, Comparison, Question, Situation
from overopt.evaluation.judges.openai import ChatAPI, OpenAI
from overopt.evaluation.judges.prompts import J1
from overopt.types import Completion, PromptRecord

DATA = Path(__file__).resolve().parents[2] / "examples" / "data"
COUNT = 100
CONCURRENCY = 4
PROMPT = J1(max_tokens=16)
"""The beginning of a reply, which depends on the texts: SmolLM2 answers every question of J2 by `The`."""


def comparisons() -> list[Comparison]:
    """The pairs, output 1 as ours; short ones, so that a CPU needs a few minutes."""
    pairs = [pair for file in sorted(DATA.glob("llmbar_*.json")) for pair in json.loads(file.read_text("utf-8"))]
    pairs.sort(key=lambda pair: sum(len(pair[name]) for name in ("input", "output_1", "output_2")))
    return [
        Comparison(PromptRecord(str(i), pair["input"]), Completion(pair["output_1"]), Completion(pair["output_2"]))
        for i, pair in enumerate(pairs[:COUNT])
    ]


def main(model: str, cache: str, sent: str, out: str) -> None:
    log = os.open(sent, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    send = ChatAPI.send

    def counted(self: ChatAPI, question: Question) -> Answer:
        os.write(log, b".")
        return send(self, question)

    ChatAPI.send = counted  # type: ignore[method-assign]
    judge = OpenAI(model=model, prompt=PROMPT, attempts=1, concurrency=CONCURRENCY, timeout=300)
    judgements = judge.judge(comparisons(), Situation(cache=Path(cache)))
    for judgement in judgements:
        assert len(judgement.replies) == 2
    Path(out).write_text(json.dumps([asdict(judgement) for judgement in judgements]), encoding="utf-8")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except UserError as error:
        print(f"judge_client: {error}", file=sys.stderr)
        sys.exit(2)

from __future__ import annotations

from pathlib import Path

import pytest

from overopt.config import block, load
from overopt.errors import UserError
from overopt.evaluation.judges.base import Comparison, Situation
from overopt.evaluation.judges.gold import Gold
from overopt.tasks import Local, Miniature, Task
from overopt.types import Completion, Dropped, PromptRecord

TASK = Miniature(evaluation_count=4)


@block
class Words(Miniature):
    """Its gold reward is the number of words."""

    def gold(self, record: PromptRecord, completion: Completion) -> float | None:
        return None if completion.text == "?" else float(len(completion.text.split()))


def test_the_better_gold_reward_wins() -> None:
    texts = [("a b", "a"), ("a", "a b"), (" a b", "b c "), ("", "a"), ("", ""), ("?", "a"), ("a", "?")]
    pairs = [Comparison(PromptRecord("p", "Why?"), Completion(a), Completion(b)) for a, b in texts]
    judged = Gold().judge(pairs, Situation(task=Words()))
    assert [j.outcome for j in judged] == [1.0, 0.0, 0.5, 0.0, 0.5, None, None]


def test_a_completion_without_its_end_is_another_one() -> None:
    """The miniature's gold reward counts a missing end."""
    _, records = TASK.evaluation(0, Dropped())
    whole = [Completion(str(record.reference)) for record in records]
    pairs = [Comparison(r, Completion(c.text, ended=False), c) for r, c in zip(records, whole, strict=True)]
    assert {j.outcome for j in Gold().judge(pairs, Situation(task=TASK))} == {0.0}


def test_a_task_without_gold_has_no_such_judge(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "a", "reference": "b"}\n')
    for task in (None, Local(path=str(tmp_path / "a.jsonl"), prompt_style="raw")):
        for ask in (Gold().identity, lambda situation: Gold().judge([], situation)):
            with pytest.raises(UserError, match=r"^judge gold: the task has no gold reward; name another judge"):
                ask(Situation(task=task))


@block
class _Any:
    task: Task


GOLD = "def length(prompts, completions, **columns):\n    return [float(len(c)) for c in completions]\n"


def test_its_identity_is_that_of_the_gold_reward(tmp_path: Path) -> None:
    """Other prompts leave it as it is; another task, or an edited gold function, does not."""
    known = Gold().identity(Situation(task=TASK))
    assert (known.id, known.prompt) == ("gold", "")
    assert Gold().identity(Situation(task=Miniature(evaluation_count=8))) == known
    (tmp_path / "a.jsonl").write_text('{"prompt": "a", "reference": "b"}\n')
    local = {"name": "local", "path": "a.jsonl", "prompt_style": "raw", "gold_function": "mine:length"}
    hashes = {known.hash}
    for code in (GOLD, GOLD.replace("len(c)", "-len(c)")):
        (tmp_path / "mine.py").write_text(code)
        task = load(_Any, {"task": local}, base=tmp_path).task
        hashes.add(Gold().identity(Situation(task=task)).hash)
    assert len(hashes) == 3

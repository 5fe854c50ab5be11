"""The judge `gold`: the task's own gold reward of both completions is compared."""

from __future__ import annotations

from collections.abc import Sequence

from overopt.config import block, dump, name_of
from overopt.errors import UserError
from overopt.evaluation.judges.base import (
    Comparison,
    Identity,
    Judgement,
    JudgeProtocol,
    Situation,
    code_hashes,
    digest,
)
from overopt.evaluation.judges.scores import outcomes
from overopt.tasks.base import TaskProtocol
from overopt.types import Completion


@block
class Gold(JudgeProtocol):
    """Compares the gold rewards of the task: those of the miniature world, or of a local file's `gold_function`.

    Texts are scored as they are, with the white space around them, as during training.
    """

    def identity(self, situation: Situation) -> Identity:
        task = _task(situation)
        own = code_hashes(task)
        built_in = type(task).__module__.startswith("overopt.")  # its fields do not change the gold reward
        fields = {} if built_in else dump(task)
        return Identity("gold", digest([name_of(type(task)), fields, own]))

    def judge(self, comparisons: Sequence[Comparison], situation: Situation) -> list[Judgement]:
        task = _task(situation)

        def scores(completions: Sequence[Completion]) -> list[float | None]:
            return [task.gold(c.record, completion) for c, completion in zip(comparisons, completions, strict=True)]

        ours, references = scores([c.ours for c in comparisons]), scores([c.reference for c in comparisons])
        return [Judgement(outcome) for outcome in outcomes(ours, references)]


def _task(situation: Situation) -> TaskProtocol:
    if situation.task is None or not situation.task.has_gold:
        raise UserError(
            "judge gold: the task has no gold reward; name another judge (reward_model, openai, hf), or give a local "
            "task a gold_function"
        )
    return situation.task

"""Several judges as one: the majority of them, or their average."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator

from overopt.config import Choice, block, name_of
from overopt.evaluation.judges.base import Comparison, Identity, Judgement, JudgeProtocol, Situation, digest, judgements
from overopt.evaluation.judges.gold import Gold
from overopt.evaluation.judges.hf import HF
from overopt.evaluation.judges.openai import OpenAI
from overopt.evaluation.judges.reward_model import RewardModelJudge

Single = Gold | RewardModelJudge | HF | OpenAI
"""The built-in judges, of which several can be combined. A new one is a member here."""


def _different(judges: list[Any]) -> list[Any]:
    if len(judges) < 2:
        raise ValueError(f"names {len(judges)} judge{'s' * (len(judges) != 1)}; it combines at least two")
    for i, judge in enumerate(judges):
        if judge in judges[:i]:
            raise ValueError(f"judge {i + 1} is judge {judges.index(judge) + 1} again; one judge has one vote")
    return judges


Members = Annotated[list[Annotated[Single, Choice(JudgeProtocol)]], AfterValidator(_different)]


@block
class _Several(JudgeProtocol):
    """Asks every member about every pair. A pair is valid if more than half of them give a valid answer.

    The outcome of each member is kept with each pair, so that their disagreement can be seen; their replies are kept
    only where they judge alone (and in the cache).
    """

    judges: Members
    """At least two different judges."""

    @abstractmethod
    def combine(self, valid: Sequence[float]) -> float:
        """Return the outcome that follows from the members' valid ones."""

    def identity(self, situation: Situation) -> Identity:
        members = [judge.identity(situation) for judge in self.judges]
        name = name_of(type(self))
        ids = ",".join(member.id for member in members)
        return Identity(f"{name}({ids})", digest([name, [(member.id, member.hash) for member in members]]))

    def check(self) -> None:
        for judge in self.judges:
            judge.check()

    def forecast(self, comparisons: Sequence[Comparison], situation: Situation) -> str:
        costs = [(judge.identity(situation).id, judge.forecast(comparisons, situation)) for judge in self.judges]
        return "; ".join(f"{name}: {cost}" for name, cost in costs if cost)

    def judge(self, comparisons: Sequence[Comparison], situation: Situation) -> list[Judgement]:
        by_member = [[j.outcome for j in judgements(judge, comparisons, situation)] for judge in self.judges]
        return [self._combined(members) for members in zip(*by_member, strict=True)]

    def _combined(self, members: tuple[float | None, ...]) -> Judgement:
        valid = [outcome for outcome in members if outcome is not None]
        enough = 2 * len(valid) > len(members)
        return Judgement(self.combine(valid) if enough else None, members=members)


@block
class Majority(_Several):
    """The side that more than half of the valid members prefer; a tie if neither has so many."""

    def combine(self, valid: Sequence[float]) -> float:
        wins, losses = (sum(1 for outcome in valid if sign * (outcome - 0.5) > 0) for sign in (1, -1))
        return 1.0 if 2 * wins > len(valid) else 0.0 if 2 * losses > len(valid) else 0.5


@block
class Average(_Several):
    """The mean of the valid members' outcomes, in [0, 1]."""

    def combine(self, valid: Sequence[float]) -> float:
        return sum(valid) / len(valid)

"""Majority and average, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from overopt.config import block, load
from overopt.errors import ConfigError
from overopt.evaluation.judges.base import Comparison, Identity, Judgement, JudgeProtocol, Situation
from overopt.evaluation.judges.several import Average, Majority
from overopt.types import Completion, PromptRecord

PAIR = Comparison(PromptRecord("p", "Why?"), Completion("a"), Completion("b"))
N = None


@block
class Says(JudgeProtocol):
    """A judge with known outcomes."""

    outcomes: list[float | None]
    number: int

    def identity(self, situation: Situation) -> Identity:
        return Identity(f"says-{self.number}", f"{self.number:012}")

    def forecast(self, comparisons: Sequence[Comparison], situation: Situation) -> str:
        return f"{len(comparisons)} times {self.number}" if self.number else ""

    def judge(self, comparisons: Sequence[Comparison], situation: Situation) -> list[Judgement]:
        return [Judgement(outcome) for outcome in self.outcomes]


TABLE: list[tuple[list[float | None], float | None, float | None]] = [
    # members, majority, average
    ([1.0, 1.0, 0.0], 1.0, 2 / 3),
    ([1.0, 0.0, 0.0], 0.0, 1 / 3),
    ([1.0, 1.0, 1.0], 1.0, 1.0),
    ([1.0, 0.5, 0.0], 0.5, 0.5),
    ([1.0, 0.5, 0.5], 0.5, 2 / 3),  # most say tie
    ([1.0, 1.0, 0.5], 1.0, 5 / 6),
    ([0.75, 0.75, 0.0], 1.0, 0.5),  # in both orders a tie and a win: prefers ours
    ([1.0, 1.0, N], 1.0, 1.0),
    ([1.0, 0.0, N], 0.5, 0.5),
    ([1.0, 0.5, N], 0.5, 0.75),
    ([1.0, N, N], N, N),  # one of three is no majority
    ([N, N, N], N, N),
    ([1.0, 0.0], 0.5, 0.5),
    ([1.0, 1.0], 1.0, 1.0),
    ([1.0, N], N, N),  # one of two neither
    ([1.0, 1.0, 0.0, 0.0], 0.5, 0.5),
    ([1.0, 1.0, 0.5, 0.0], 0.5, 0.625),  # two of four are not more than half
    ([1.0, 1.0, 0.0, N], 1.0, 2 / 3),
    ([1.0, 0.0, N, N], N, N),
    ([1.0, 1.0, 1.0, 0.0, 0.0], 1.0, 0.6),
]


@pytest.mark.parametrize(("members", "majority", "average"), TABLE)
def test_outcomes_by_hand(members: list[float | None], majority: float | None, average: float | None) -> None:
    judges: Any = [Says(outcomes=[outcome], number=i) for i, outcome in enumerate(members)]
    for kind, expected in ((Majority, majority), (Average, average)):
        (judged,) = kind(judges=judges).judge([PAIR], Situation())
        assert judged.outcome == (None if expected is None else pytest.approx(expected))
        assert judged.members == tuple(members)


@pytest.mark.parametrize("kind", [Majority, Average])
@pytest.mark.parametrize("members", [members for members, _, _ in TABLE])
def test_an_exchange_of_both_texts_exchanges_the_outcomes(kind: Any, members: list[float | None]) -> None:
    there = [Says(outcomes=[outcome], number=i) for i, outcome in enumerate(members)]
    back = [Says(outcomes=[N if o is None else 1 - o], number=i) for i, o in enumerate(members)]
    (a,), (b,) = (kind(judges=judges).judge([PAIR], Situation()) for judges in (there, back))
    assert a.outcome is b.outcome is None or a.outcome + b.outcome == pytest.approx(1.0)


def test_judgements_stay_in_the_order_of_the_pairs() -> None:
    judges: Any = [Says(outcomes=[1.0, 0.0, N], number=1), Says(outcomes=[1.0, 1.0, 1.0], number=2)]
    judged = Majority(judges=judges).judge([PAIR] * 3, Situation())
    assert [(j.outcome, j.members) for j in judged] == [(1.0, (1.0, 1.0)), (0.5, (0.0, 1.0)), (N, (N, 1.0))]


def test_the_identity_names_the_members() -> None:
    says: Any = [Says(outcomes=[], number=i) for i in range(3)]
    first, second, third = says
    situation = Situation()
    judges: list[Any] = [
        Majority(judges=[first, second]),
        Majority(judges=[second, first]),
        Majority(judges=[first, third]),
        Average(judges=[first, second]),
    ]
    assert [judge.identity(situation).id for judge in judges] == [
        "majority(says-0,says-1)",
        "majority(says-1,says-0)",
        "majority(says-0,says-2)",
        "average(says-0,says-1)",
    ]
    assert len({judge.identity(situation).hash for judge in judges}) == 4


@pytest.mark.parametrize(
    ("judges", "problem"),
    [
        ([], "names 0 judges; it combines at least two"),
        (["gold"], "names 1 judge; it combines at least two"),
        (["gold", "reward_model", "gold"], "judge 3 is judge 1 again; one judge has one vote"),
    ],
)
def test_at_least_two_different_judges(judges: list[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=f"^judges: {problem}$"):
        load(Majority, {"judges": judges})


def test_the_cost_is_that_of_each_member_that_costs_something() -> None:
    judges: list[Any] = [Says(outcomes=[1.0], number=number) for number in (0, 1, 2)]
    assert Majority(judges=judges).forecast([PAIR, PAIR], Situation()) == "says-1: 2 times 1; says-2: 2 times 2"
    free = Average(judges=[judges[0], Says(outcomes=[0.0], number=0)])
    assert free.forecast([PAIR], Situation()) == ""

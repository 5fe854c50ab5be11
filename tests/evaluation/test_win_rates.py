"""Seven comparisons that a judge made in both orders, worked out by hand."""

from __future__ import annotations

import pytest

from overopt.evaluation.judges.base import Judgement, Position, Reply, Verdict
from overopt.evaluation.win_rates import Judged, by_position, disagreement, win_rate, win_rates
from overopt.statistics import wilson
from overopt.statistics.lengths import length_controlled
from overopt.statistics.rates import outcomes_interval


def reply(position: Position, verdict: Verdict) -> Reply:
    return Reply(position, verdict, "text", 1, "2026-01-01T00:00:00+00:00")


def both(outcome: float | None, in_a: Verdict, in_b: Verdict) -> Judgement:
    return Judgement(outcome, (reply("A", in_a), reply("B", in_b)))


JUDGEMENTS = [
    both(1.0, "ours", "ours"),
    both(0.0, "reference", "reference"),
    both(0.5, "ours", "reference"),  # first both times
    both(0.5, "reference", "ours"),  # second both times
    both(0.75, "tie", "ours"),
    both(None, "invalid", "ours"),
    Judgement(0.0),  # empty: nobody was asked
]
LENGTHS = [5, 9, 20, 10, 30, 4, 1]
LONGER = [2, -3, 4, 0, 9, 1, -20]
JUDGED = [Judged(*one) for one in zip(JUDGEMENTS, LENGTHS, LONGER, strict=True)]
OUTCOMES = [1.0, 0.0, 0.5, 0.5, 0.75, 0.0]


def test_a_row_by_hand() -> None:
    row = win_rates([*JUDGED, None], [0.0, 0.0, 1.0, None, 0.75, 1.0, 0.0, None])
    assert (row["n"], row["wins"], row["ties"], row["losses"], row["invalid"]) == (6, 2, 2, 2, 2)
    assert row["win_rate"] == pytest.approx(2.75 / 6)
    assert (row["win_rate_low"], row["win_rate_high"]) == outcomes_interval(OUTCOMES)
    assert row["win_rate_invalid_as_loss"] == pytest.approx(2.75 / 7)  # the last prompt had nothing to compare with
    # paired with the first, third, fifth and seventh verdict and the second: 1, 0, -1/2, 0, 0
    assert row["win_difference"] == pytest.approx(0.5 / 5)
    assert row["win_difference_se"] == pytest.approx(((1.25 / 5 - 0.1**2) / 5) ** 0.5)
    # of six verdicts the lengths 1 and 5, 9 and 10, 20 and 30
    assert (row["win_rate_short"], row["win_rate_middle"], row["win_rate_long"]) == (0.5, 0.25, 0.625)
    controlled = length_controlled(OUTCOMES, [2, -3, 4, 0, 9, -20])
    assert controlled is not None and row["win_rate_length_controlled"] == controlled.value
    assert row["judges_disagree"] is None


def test_position_by_hand() -> None:
    """Of eleven valid replies, those of the first two pairs prefer the first text once each, those of the third twice,
    and one is a tie; of five pairs with two valid replies, only the first two say the same in both orders.
    """
    found = by_position([judgement.replies for judgement in JUDGEMENTS])
    assert found["first_position_rate"] == pytest.approx((1 + 1 + 2 + 0.5) / 11)
    assert found["order_consistency"] == pytest.approx(2 / 5)


def test_nothing_is_said_of_equal_lengths_that_there_are_not() -> None:
    def at_equal_length(longer: list[int]) -> float | None:
        judged = [Judged(Judgement(float(i % 2)), 3, d) for i, d in enumerate(longer)]
        found: float | None = win_rates(judged, [0.0] * len(judged))["win_rate_length_controlled"]
        return found

    assert at_equal_length([5] * 9 + [-1]) is not None and at_equal_length([5] * 9 + [0]) is not None
    assert at_equal_length([5, 6] * 5 + [-1]) is None  # one of eleven
    assert at_equal_length([-5, -6] * 5) is None


def test_where_nobody_was_asked_there_is_no_position() -> None:
    row = win_rates([Judged(Judgement(outcome), 3, 0) for outcome in (1.0, 0.5, 0.0)], [1.0, 0.5, 0.0])
    assert row["first_position_rate"] is row["order_consistency"] is None
    assert (row["win_rate_low"], row["win_rate_high"]) == wilson(1.5, 3)  # as in training


def test_judges_that_differ() -> None:
    members = [(1.0, 1.0, 1.0), (1.0, 0.0, 1.0), (1.0, None, 0.5), (None, 1.0, None), ()]
    assert disagreement(members) == pytest.approx(2 / 3)
    row = win_rates([Judged(Judgement(0.5, (), (1.0, 0.0)), 3, 0)], [0.5])
    assert row["judges_disagree"] == 1.0
    assert (row["win_rate_low"], row["win_rate_high"]) == outcomes_interval([0.5])


def test_invalid_replies_are_counted_where_they_are_lost_too() -> None:
    lost = [both(0.0, "invalid", "ours"), both(1.0, "ours", "ours"), both(0.0, "reference", "reference")]
    row = win_rates([Judged(judgement, 3, 0) for judgement in lost], [None] * 3)
    assert (row["n"], row["losses"], row["invalid"], row["win_rate"]) == (3, 2, 1, pytest.approx(1 / 3))


def test_without_a_verdict_there_is_no_rate() -> None:
    assert win_rate([None, None], [1.0, None]) == {"n": 0}
    assert win_rates([None, Judged(Judgement(None), 3, 1)], [None, None]) == {"n": 0, "invalid": 2}


def test_a_rate_without_a_common_prompt_has_no_difference() -> None:
    row = win_rate([1.0, None], [None, 0.0])
    assert row["win_rate"] == 1.0 and "win_difference" not in row

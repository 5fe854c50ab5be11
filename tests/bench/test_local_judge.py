"""What a judge's replies come to, on four pairs whose numbers are worked out by hand."""

from __future__ import annotations

import math

import pytest
from local_judge import first_preferred, interval, measures

from overopt.evaluation.judges.base import Judgement, Position, Reply, Verdict


def reply(position: Position, verdict: Verdict) -> Reply:
    return Reply(position, verdict, "", 1, "")


def both(outcome: float | None, as_a: Verdict, as_b: Verdict) -> Judgement:
    return Judgement(outcome, (reply("A", as_a), reply("B", as_b)))


JUDGEMENTS = [
    both(1.0, "ours", "ours"),  # right
    both(0.5, "ours", "reference"),  # the first text both times: half right
    both(0.5, "ours", "reference"),
    both(None, "invalid", "reference"),  # the first text, the other reply is invalid
]


def test_four_pairs_by_hand() -> None:
    found = measures([1.0, 1.0, 0.0, 0.0], JUDGEMENTS)
    assert found["valid_pairs"] == 3
    assert found["accuracy"][0] == pytest.approx(2 / 3) and found["accuracy"][3] == 3
    # Labels 1, 1, 0 and outcomes 1, 1/2, 1/2: of the nine combinations 1 with 1 agrees 1, 1 with 1/2 a half, 0 with 1
    # not, 0 with 1/2 a half: (2 * (1 + 1/2 + 1/2) + (0 + 1/2 + 1/2)) / 9 = 5/9; (2/3 - 5/9) / (1 - 5/9) = 1/4.
    assert found["kappa"][0] == pytest.approx(1 / 4)
    assert found["position_bias"][0] == pytest.approx(6 / 7 - 1 / 2)  # all but one of seven valid replies
    assert found["order_consistency"][0] == pytest.approx(1 / 3) and found["order_consistency"][3] == 3
    assert found["invalid_replies"][0] == pytest.approx(1 / 8)


def test_which_text_stands_first() -> None:
    assert [first_preferred(reply("A", v)) for v in ("ours", "reference", "tie")] == [1, 0, 0.5]
    assert [first_preferred(reply("B", v)) for v in ("ours", "reference", "tie")] == [0, 1, 0.5]
    assert math.isnan(first_preferred(reply("A", "invalid")))


def test_cells() -> None:
    assert interval([0.518, 0.43, 0.606, 100], signed=False) == "0.52 (0.43 to 0.61)"
    assert interval([0.0, -0.2, 0.2, 100], signed=True) == "+0.00 (-0.20 to +0.20)"
    assert interval(None, signed=False) == "-"

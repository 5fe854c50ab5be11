from __future__ import annotations

import pytest

from overopt.evaluation.judges.base import Answer, Question
from overopt.evaluation.judges.budget import Budget, BudgetError, Limits, Usage, worst

QUESTION = Question((("system", "12345678"), ("user", "äö")), max_tokens=10)
"""At most 8 + 16, 4 + 16 and 16 more tokens in: 60."""
PRICES = {"input_price": 2.0, "output_price": 5.0}
"""Its worst case costs (60 * 2 + 10 * 5) / 1e6 = 0.00017."""


def answer(input_tokens: int, output_tokens: int) -> Answer:
    return Answer("A", "", input_tokens, output_tokens)


def test_the_worst_case_is_a_token_per_byte() -> None:
    assert worst(QUESTION) == Usage(1, 60, 10)


def test_the_bill_is_what_the_endpoint_counts() -> None:
    budget = Budget(Limits(**PRICES))
    for counts in ((20, 3), (30, 4)):
        assert budget.reserve(QUESTION)
        budget.settle(QUESTION, answer(*counts))
    assert budget.spent == Usage(2, 50, 7)
    assert budget.cost(budget.spent) == pytest.approx(135e-6, rel=1e-12)
    assert budget.bill() == "2 requests, 50 tokens in, 7 out, cost 0.000135"


def test_replies_that_were_lost_or_not_counted_are_billed_at_their_worst() -> None:
    budget = Budget(Limits(**PRICES))
    for _ in range(3):
        budget.reserve(QUESTION)
    budget.fail(QUESTION, perhaps_charged=True)
    budget.fail(QUESTION, perhaps_charged=False)
    budget.settle(QUESTION, answer(0, 0))
    assert (budget.spent, budget.lost) == (Usage(3), Usage(0, 120, 20))
    assert "at most 120 in and 20 out more, cost 0.00034" in budget.bill()


def test_a_limit_of_cost_is_never_passed() -> None:
    """0.0004 pays for two worst cases; once they have cost less, for a third."""
    budget = Budget(Limits(max_cost=0.0004, **PRICES))
    assert [budget.reserve(QUESTION) for _ in range(3)] == [True, True, False]
    budget.settle(QUESTION, answer(20, 3))  # 0.000055: with 0.00017 still reserved, 0.00017 more is 0.000395
    assert budget.reserve(QUESTION)
    for _ in range(2):
        budget.settle(QUESTION, answer(60, 10))
    with pytest.raises(BudgetError, match="could pass max_cost 0.0004; raise it"):
        budget.reserve(QUESTION)
    assert budget.bill() == "3 requests, 140 tokens in, 23 out, cost 0.000395"


def test_a_limit_of_requests_counts_those_that_failed() -> None:
    budget = Budget(Limits(max_requests=2))
    assert budget.reserve(QUESTION) and budget.reserve(QUESTION) and not budget.reserve(QUESTION)
    budget.fail(QUESTION, perhaps_charged=False)
    assert not budget.reserve(QUESTION)  # the other one is under way
    budget.settle(QUESTION, answer(1, 1))
    with pytest.raises(BudgetError, match="max_requests 2"):
        budget.reserve(QUESTION)


def test_the_forecast_is_four_bytes_a_token_and_says_what_will_stop_it() -> None:
    assert Budget(Limits(**PRICES)).forecast([QUESTION, QUESTION]) == (
        "2 requests to send, about 30 tokens in, at most 20 out, cost 0.00016"
    )
    assert (
        Budget(Limits(max_requests=1))
        .forecast([QUESTION, QUESTION])
        .endswith("at most 20 out; more than is left of max_requests 1, which will stop it")
    )
    assert "left of max_cost 0.0001" in Budget(Limits(max_cost=0.0001, **PRICES)).forecast([QUESTION, QUESTION])

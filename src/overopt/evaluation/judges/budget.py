"""What a judge may spend, and what it has spent: requests, tokens, money."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from overopt.errors import UserError
from overopt.evaluation.judges.base import Answer, Question

MESSAGE_TOKENS = 16
"""Upper bound of what a chat template adds to each message, and to all of them."""
BYTES_PER_TOKEN = 4
"""Of English text, for estimates."""


class BudgetError(UserError):
    """The next request could pass a limit."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what a judge spends, and what a million tokens cost, in any currency; None: not bounded, not known.

    `max_cost` needs both prices.
    """

    max_requests: int | None = None
    max_cost: float | None = None
    input_price: float | None = None
    output_price: float | None = None


@dataclass(slots=True)
class Usage:
    """Requests and tokens."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def add(self, other: Usage) -> None:
        self.requests += other.requests
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens

    def subtract(self, other: Usage) -> None:
        self.add(Usage(-other.requests, -other.input_tokens, -other.output_tokens))


def worst(question: Question) -> Usage:
    """Return the most that one request can use: a token of text is at least a byte, and the reply as long as may be."""
    text = sum(len(content.encode("utf-8", "replace")) + MESSAGE_TOKENS for _, content in question.messages)
    return Usage(1, text + MESSAGE_TOKENS, question.max_tokens)


class Budget:
    """What one judge spends while this process lives. Safe for threads.

    A request is sent only after its worst case has been reserved, so that no limit is passed whatever the reply. Then
    the reservation is replaced by what the endpoint says that it used.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.spent = Usage()
        """Requests sent, and tokens of the replies that arrived, as the endpoint counts them."""
        self.lost = Usage()
        """The most that requests used whose reply was lost (a time-out, a broken connection) or did not say."""
        self._reserved = Usage()
        self._lock = threading.RLock()

    def reserve(self, question: Question) -> bool:
        """Reserve one request if that keeps within the limits whatever becomes of those that are under way.

        False: it may be possible once these have ended. BudgetError: there are none, and a limit is reached.
        """
        most = worst(question)
        with self._lock:
            limit = self._limit_passed_by(most)
            if limit and not self._reserved.requests:
                raise BudgetError(f"the next request could pass {limit}; raise it to go on")
            if not limit:
                self._reserved.add(most)
            return not limit

    def settle(self, question: Question, answer: Answer) -> None:
        """Replace a reservation by what the reply used; without the endpoint's count, by the worst case."""
        with self._lock:
            self._reserved.subtract(worst(question))
            if answer.input_tokens:
                self.spent.add(Usage(1, answer.input_tokens, answer.output_tokens))
            else:
                self._lose(question)

    def fail(self, question: Question, perhaps_charged: bool) -> None:
        """Give a reservation back after a request without a reply, which the endpoint may have charged all the same."""
        with self._lock:
            self._reserved.subtract(worst(question))
            if perhaps_charged:
                self._lose(question)
            else:
                self.spent.add(Usage(1))

    def cost(self, *usages: Usage) -> float | None:
        """Return what tokens cost; None if prices are not known."""
        prices = (self.limits.input_price, self.limits.output_price)
        if prices[0] is None or prices[1] is None:
            return None
        return sum(u.input_tokens * prices[0] + u.output_tokens * prices[1] for u in usages) / 1e6

    def bill(self) -> str:
        """Return what was spent, in words."""
        with self._lock:
            text = f"{self.spent.requests:,} requests, {self.spent.input_tokens:,} tokens in, "
            text += f"{self.spent.output_tokens:,} out" + self._money(self.spent)
            if self.lost.input_tokens:
                text += f"; at most {self.lost.input_tokens:,} in and {self.lost.output_tokens:,} out more"
                text += f"{self._money(self.lost)} for replies that were lost or not counted by the endpoint"
            return text

    def forecast(self, questions: Iterable[Question]) -> str:
        """Return about what questions will use, in words, and whether a limit will stop them."""
        about = Usage()
        for question in questions:
            worst_case = worst(question)
            about.add(Usage(1, worst_case.input_tokens // BYTES_PER_TOKEN, worst_case.output_tokens))
        with self._lock:
            text = f"{about.requests:,} requests to send, about {about.input_tokens:,} tokens in, "
            text += f"at most {about.output_tokens:,} out{self._money(about)}"
            if limit := self._limit_passed_by(about):
                text += f"; more than is left of {limit}, which will stop it"
            return text

    def _limit_passed_by(self, more: Usage) -> str:
        """The limit that further requests would pass, if all that is under way costs as much as it can; or nothing."""
        limits = self.limits
        requests = self.spent.requests + self._reserved.requests + more.requests
        if limits.max_requests is not None and requests > limits.max_requests:
            return f"max_requests {limits.max_requests:,}"
        cost = self.cost(self.spent, self.lost, self._reserved, more)
        if limits.max_cost is not None and cost is not None and cost > limits.max_cost:
            return f"max_cost {limits.max_cost:g}"
        return ""

    def _lose(self, question: Question) -> None:
        most = worst(question)
        self.spent.add(Usage(1))
        self.lost.add(Usage(0, most.input_tokens, most.output_tokens))

    def _money(self, usage: Usage) -> str:
        cost = self.cost(usage)
        return "" if cost is None else f", cost {cost:.4g}"

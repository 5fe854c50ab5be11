"""Judgements from a language model's replies: whom to ask what, in which order, and how often.

The rules, which are those of the evaluations in this field where they agree, and stricter where they do not:

- Texts are compared without white space around them. An empty completion loses to one that is not; two that are equal
  tie. Nobody is asked about these.
- In both orders (the default) the outcome is the mean of two replies: a judge that always prefers the first text gives
  ties. In `random` order there is one reply, and the order is drawn from the comparison's key alone.
- A reply that cannot be read is asked for again, up to `attempts` times. A comparison with such a reply in either order
  is invalid: left out, or under `invalid: loss` lost by our completion.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import Field

from overopt.config import block, dump, name_of
from overopt.evaluation.judges.base import (
    OUTCOMES,
    Answer,
    Comparison,
    Identity,
    Judgement,
    JudgeProtocol,
    Position,
    Question,
    Reply,
    Situation,
    Verdict,
    code_hashes,
    digest,
)
from overopt.evaluation.judges.prompts import J1, Prompt

RULES = 1
"""Raised when the rules here or those by which replies are read are changed, so that judgements are not mixed."""

Ask = Callable[[Sequence[Question]], Sequence[Answer]]
Attempts = Annotated[int, Field(gt=0)]


@block
class LanguageModelJudge(JudgeProtocol):
    """What all judges that are language models share: a subclass says which model it is, and asks it."""

    prompt: Prompt = J1()
    orders: Literal["both", "random"] = "both"
    """`both`: each pair is asked in both orders, and the outcome is the mean; `random`: in one, drawn by a coin."""
    invalid: Literal["exclude", "loss"] = "exclude"
    """What becomes of a pair without a valid reply: it is left out and counted, or our completion loses it."""
    attempts: Attempts = 3
    """How often a reply that cannot be read is asked for."""

    @abstractmethod
    def label(self) -> str:
        """Return the judge's name for tables, without its prompt: `openai/gpt-4o-mini`."""

    @abstractmethod
    def decisive(self, situation: Situation) -> Mapping[str, Any]:
        """Return what of the model and its settings can change a reply, as plain values: model, sampling, weights."""

    @abstractmethod
    def ask(self, questions: Sequence[Question], situation: Situation) -> Sequence[Answer]:
        """Return an answer to each question, in order. UserError: it cannot; no answer that arrived is lost."""

    def identity(self, situation: Situation) -> Identity:
        name = name_of(type(self.prompt))
        rules = {key: getattr(self, key) for key in ("orders", "invalid", "attempts")} | {"rules": RULES}
        prompt = [name, self.prompt.hash, dump(self.prompt)]
        parts = [self.label(), self.decisive(situation), prompt, rules, code_hashes(self)]
        return Identity(f"{self.label()}:{name}", digest(parts), name, self.prompt.hash)

    def judge(self, comparisons: Sequence[Comparison], situation: Situation) -> list[Judgement]:
        return judge_by_replies(comparisons, self, partial(self.ask, situation=situation))


def judge_by_replies(comparisons: Sequence[Comparison], judge: LanguageModelJudge, ask: Ask) -> list[Judgement]:
    """Return a judgement for each comparison, in order, from the replies that `ask` gets.

    All questions go to one call of `ask`; then those whose replies were invalid, as long as there are attempts left.
    """
    settled = [_without_asking(comparison) for comparison in comparisons]
    places = _places(comparisons, judge)
    replies: dict[tuple[int, Position], Reply] = {}
    for attempt in range(1, judge.attempts + 1):
        waiting = [place for place in places if place not in replies or replies[place].verdict == "invalid"]
        if not waiting:
            break
        questions = [
            replace(judge.prompt.question(comparisons[i], position), attempt=attempt) for i, position in waiting
        ]
        for place, answer in zip(waiting, ask(questions), strict=True):
            verdict = _verdict(judge.prompt.read(answer.text), place[1])
            replies[place] = Reply(place[1], verdict, answer.text, attempt, answer.date)
    of_pair: list[list[Reply]] = [[] for _ in comparisons]
    for i, position in places:
        of_pair[i].append(replies[i, position])
    return [
        Judgement(_outcome(found, judge.invalid), tuple(found)) if sure is None else Judgement(sure)
        for sure, found in zip(settled, of_pair, strict=True)
    ]


def first_questions(comparisons: Sequence[Comparison], judge: LanguageModelJudge) -> list[Question]:
    """Return the questions that comparisons take if every reply is valid."""
    return [judge.prompt.question(comparisons[i], position) for i, position in _places(comparisons, judge)]


def _places(comparisons: Sequence[Comparison], judge: LanguageModelJudge) -> list[tuple[int, Position]]:
    """Which comparisons a judge is asked about, and in which positions of our completion."""
    return [
        (i, position)
        for i, comparison in enumerate(comparisons)
        if _without_asking(comparison) is None
        for position in _positions(comparison, judge.orders)
    ]


def _without_asking(comparison: Comparison) -> float | None:
    """The outcome of a comparison that needs no judge; None: it does."""
    ours, reference = comparison.ours.text.strip(), comparison.reference.text.strip()
    if ours == reference:
        return OUTCOMES["tie"]
    if not ours or not reference:
        return OUTCOMES["ours" if ours else "reference"]
    return None


def _positions(comparison: Comparison, orders: str) -> tuple[Position, ...]:
    """The positions of our completion: both, or one that depends on the comparison's key alone."""
    if orders == "both":
        return ("A", "B")
    heads = sha256((comparison.key or comparison.record.prompt_id).encode()).digest()[0] % 2 == 0
    return ("A",) if heads else ("B",)


def _verdict(reading: str | None, ours: Position) -> Verdict:
    if reading is None:
        return "invalid"
    if reading == "tie":
        return "tie"
    return "ours" if reading == ours else "reference"


def _outcome(replies: Sequence[Reply], invalid: str) -> float | None:
    """The mean over the orders; without a valid reply in each, None, or 0 where invalid pairs are lost."""
    outcomes = [OUTCOMES[reply.verdict] for reply in replies]
    known = [outcome for outcome in outcomes if outcome is not None]
    if len(known) < len(outcomes):
        return OUTCOMES["reference"] if invalid == "loss" else None
    return sum(known) / len(known)

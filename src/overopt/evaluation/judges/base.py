"""What every judge is asked, and what it answers.

A judge compares two completions of one prompt, ours and the reference (a human's, or another run's). There are two
kinds. One gives each completion a score (gold, reward model). The other is a language model that reads both in one
text, and whose answer may depend on which of them stands first; so it is asked in both orders.
"""

from __future__ import annotations

import json
import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Protocol

from overopt.config import dump, name_of, plugin_files
from overopt.engine.compute import Compute
from overopt.errors import UserError, say
from overopt.records.hashing import hash_file
from overopt.tasks.base import PromptStyle, TaskProtocol
from overopt.types import Completion, PromptRecord

Position = Literal["A", "B"]
"""Where a completion stands in the text that a language model reads: first or second."""
Verdict = Literal["ours", "reference", "tie", "invalid"]

OUTCOMES: dict[Verdict, float | None] = {"ours": 1.0, "tie": 0.5, "reference": 0.0, "invalid": None}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two completions of one prompt."""

    record: PromptRecord
    ours: Completion
    reference: Completion
    key: str = ""
    """Names run, checkpoint and prompt; a random order is drawn from it."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A language model's last reply to a comparison in one order."""

    ours_position: Position
    verdict: Verdict
    text: str
    """As the judge wrote it, secrets blacked out."""
    attempts: int
    """How many replies were read; all but the last were invalid."""
    date: str
    """UTC time at which it arrived, ISO 8601; a cached reply keeps its own."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge says of one comparison."""

    outcome: float | None
    """1: ours wins, 1/2: tie, 0: the reference wins; None: the judge gave no valid answer."""
    replies: tuple[Reply, ...] = ()
    members: tuple[float | None, ...] = ()
    """The outcomes of several judges behind this one, in their order."""

    @property
    def invalid(self) -> bool:
        """Whether a valid answer is missing, also where such a comparison counts as lost."""
        return self.outcome is None or any(reply.verdict == "invalid" for reply in self.replies)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who judged. Win rates of different identities are never mixed."""

    id: str
    """For tables: `gold`, `reward_model`, `openai/gpt-4o-mini:j1`."""
    hash: str
    """Twelve hexadecimal digits over everything that can change a judgement: model, prompt text, orders, rules."""
    prompt: str = ""
    """Name of the judge's prompt: `j1`."""
    prompt_hash: str = ""


@dataclass
class Situation:
    """What a judge may need beyond the texts: the task's gold reward, a run's reward model, where to compute."""

    task: TaskProtocol | None = None
    reward_model: Path | None = None
    """Folder of the run's own reward model."""
    prompt_style: PromptStyle = "raw"
    clock: datetime | None = None
    """The run's clock, for chat templates that show the date; None: the time at which they ask."""
    compute: Compute = field(default_factory=Compute)
    cache: Path | None = None
    """SQLite file of replies; None: the user's own, `default_cache()`."""
    progress: Callable[[int, int], None] = lambda done, total: None
    notice: Callable[[str], None] = say


class JudgeProtocol(Protocol):
    """A judge, built in or your own. Its fields are its YAML."""

    def identity(self, situation: Situation) -> Identity:
        """Return who judges: by default its name, and a hash of its fields and of its code where it is your own."""
        return Identity(name_of(type(self)), digest([dump(self), code_hashes(self)]))

    def check(self) -> None:
        """Raise UserError if it cannot judge at all, for want of a key, say: asked before long work that it follows."""

    def forecast(self, comparisons: Sequence[Comparison], situation: Situation) -> str:
        """Return about what it would cost to judge comparisons, in words; nothing where it costs only time."""
        return ""

    @abstractmethod
    def judge(self, comparisons: Sequence[Comparison], situation: Situation) -> Sequence[Judgement]:
        """Return a judgement for each comparison, in order. UserError: it cannot; no answer that arrived is lost."""


def digest(value: Any) -> str:
    """Return twelve hexadecimal digits over plain values."""
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def code_hashes(part: Any) -> dict[str, str]:
    """Return the hash of each file from outside the package that a part of a configuration is written in."""
    files = plugin_files(part)
    return {f"{place}/{name}": hash_file(file) for place in files for name, file in files[place].items()}


def judgements(judge: JudgeProtocol, comparisons: Sequence[Comparison], situation: Situation) -> list[Judgement]:
    """Return a judge's judgements, one for each comparison; UserError where a judge of one's own returns otherwise."""
    judged = list(judge.judge(comparisons, situation))
    who = f"{type(judge).__module__}:{type(judge).__qualname__}".removeprefix("overopt plug-in ")
    if len(judged) != len(comparisons):
        raise UserError(
            f"judge {who} gave {len(judged)} judgements for {len(comparisons)} comparisons; it must give one for each"
        )
    for i, judgement in enumerate(judged):
        outcome = judgement.outcome if isinstance(judgement, Judgement) else judgement
        if not isinstance(judgement, Judgement) or not (outcome is None or 0 <= outcome <= 1):
            raise UserError(
                f"judge {who} gave {outcome!r} as judgement {i}; it must be a Judgement, its outcome in [0, 1] or None"
            )
    return judged


def prefers_first(replies: Sequence[Reply]) -> list[float]:
    """Return a column for each order, ours as A and as B: 1 if the reply prefers the text that stands first, 0 the
    second, 1/2 neither; NaN where there is no valid reply.
    """
    row = [math.nan, math.nan]
    for reply in replies:
        if reply.verdict != "invalid":
            chosen = {"ours": reply.ours_position == "A", "reference": reply.ours_position == "B", "tie": 0.5}
            row["AB".index(reply.ours_position)] = float(chosen[reply.verdict])
    return row


def encodable(text: str) -> str:
    """Return a text that UTF-8 can hold: JSON can spell half of a surrogate pair, which nothing can store or send."""
    return text.encode("utf-8", "replace").decode()


# What a language model is asked (`judges/replies.py` asks it, `judges/openai.py` and `judges/hf.py` answer)


@dataclass(frozen=True, slots=True)
class Question:
    """A text for a language model."""

    messages: tuple[tuple[str, str], ...]
    """Role and content of each message."""
    max_tokens: int
    """Longest reply, in tokens."""
    allowed: tuple[str, ...] = ()
    """The answers between which log-probabilities can decide."""
    answer_prefix: str = ""
    """What a reply says before its answer, such as `Preferred: `."""
    attempt: int = 1
    """1, or the number of the attempt after invalid replies."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A language model's reply."""

    text: str
    date: str
    input_tokens: int = 0
    output_tokens: int = 0

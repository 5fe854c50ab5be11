"""HH-RLHF (Anthropic): `chosen` and `rejected` are whole transcripts that differ in the last answer only."""

from __future__ import annotations

import re

from overopt.errors import UserError
from overopt.tasks.base import strip_joint
from overopt.tasks.formats.example import Example, Message, Row, text_field
from overopt.types import Dropped

NEEDS = "chosen, rejected, each a transcript of Human: and Assistant: (HH-RLHF)"
ANSWER = "\n\nAssistant:"
TURN = re.compile(r"\n\n(Human|Assistant):")
ROLES = {"Human": "user", "Assistant": "assistant"}


def matches(row: Row) -> bool:
    if "prompt" in row:
        return False
    return all(isinstance(row.get(name), str) and TURN.match(row[name]) for name in ("chosen", "rejected"))


def _messages(prompt: str) -> tuple[Message, ...]:
    """The chat messages of a transcript that ends in "Assistant:"."""
    _, *parts = TURN.split(prompt.removesuffix(ANSWER))
    return tuple(
        {"role": ROLES[speaker], "content": text.strip()} for speaker, text in zip(parts[::2], parts[1::2], strict=True)
    )


def read(row: Row, dropped: Dropped) -> Example | None:
    transcripts = [text_field(row, name) for name in ("chosen", "rejected")]
    if not all(ANSWER in transcript for transcript in transcripts):
        raise UserError(
            "not a transcript: 'chosen' and 'rejected' must each contain a line 'Assistant:' after a blank one"
        )
    (prompt, _, chosen), (other_prompt, _, rejected) = (transcript.rpartition(ANSWER) for transcript in transcripts)
    if prompt != other_prompt:
        dropped.add("chosen and rejected differ before the last turn")
        return None
    if TURN.search(chosen) or TURN.search(rejected):
        dropped.add("the last turn is not the assistant's")
        return None
    prompt += ANSWER
    # The space after "Assistant:" belongs to the transcript, not to the answer.
    chosen, rejected = (strip_joint(answer, prompt, "raw") for answer in (chosen, rejected))
    return Example(prompt, chosen, rejected, messages=_messages(prompt))

"""Chat messages as text, for models without a chat template: transcripts of Human: and Assistant:, as in HH-RLHF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from overopt.errors import UserError
from overopt.tasks.formats.chat import CALLS
from overopt.tasks.formats.example import Example, Message
from overopt.tasks.formats.hh import ANSWER, TURN

SPEAKERS = {"user": "Human", "assistant": "Assistant"}


def as_transcript(example: Example) -> Example:
    """The example with its prompt as a transcript; a text prompt becomes Human's turn.

    Prompts that are transcripts already, or posts to be summarized, stay. UserError for a call of a tool.
    """
    if TURN.match(example.prompt) or example.cuttable is not None:
        return replace(example, messages=None, chat_only=False)
    turns = example.messages or ({"role": "user", "content": example.prompt},)
    try:
        return replace(example, prompt=transcript(turns), messages=None, chat_only=False)
    except UserError as error:
        raise UserError(f"{example.place}: {error}") from None


def transcript(turns: Sequence[Message]) -> str:
    """The text of turns up to where the assistant answers, or goes on with its last turn.

    A system message is the text before the first turn.
    """
    text = "".join(_turn(turn) for turn in turns)
    return text if turns[-1]["role"] == "assistant" else text + ANSWER


def _turn(turn: Message) -> str:
    content = (turn.get("content") or "").strip()
    if turn["role"] == "system":
        return content
    if turn["role"] not in SPEAKERS or any(turn.get(key) for key in CALLS):
        raise UserError("a transcript has no place for calls of tools; use a model with a chat template")
    return f"\n\n{SPEAKERS[turn['role']]}: {content}"

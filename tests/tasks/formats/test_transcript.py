from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from overopt.errors import UserError
from overopt.tasks.formats.example import Example, Message
from overopt.tasks.formats.hh import read
from overopt.tasks.formats.transcript import as_transcript, transcript
from overopt.tasks.local import Local
from overopt.types import Completion, Dropped

USER, HI = {"role": "user", "content": "Which tea?"}, {"role": "assistant", "content": " White tea. "}
SYSTEM, MORE = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "And strong?"}


@pytest.mark.parametrize(
    ("turns", "text"),
    [
        ([USER], "\n\nHuman: Which tea?\n\nAssistant:"),
        (
            [SYSTEM, USER, HI, MORE],
            "Be brief.\n\nHuman: Which tea?\n\nAssistant: White tea.\n\nHuman: And strong?\n\nAssistant:",
        ),
        ([USER, HI], "\n\nHuman: Which tea?\n\nAssistant: White tea."),
    ],
)
def test_messages_as_a_transcript(turns: list[Message], text: str) -> None:
    assert transcript(turns) == text


def test_what_is_text_to_continue_already_stays() -> None:
    opening = "\n\nHuman: Which tea?\n\nAssistant:  White tea.\n\nHuman: And strong?\n\nAssistant:"
    hh = read({"chosen": f"{opening} Black.", "rejected": f"{opening} Tea."}, Dropped())
    assert hh is not None and as_transcript(hh) == Example(opening, "Black.", "Tea.")
    post = Example("Article:\nNews.\n\nTL;DR:", "a", cuttable=(9, 14))
    assert as_transcript(post) == post
    assert as_transcript(Example("Why?", "a")).prompt == "\n\nHuman: Why?\n\nAssistant:"


@pytest.mark.parametrize(
    "turn", [{"role": "tool", "content": "5"}, {"role": "assistant", "content": "", "tool_calls": [{"function": {}}]}]
)
def test_calls_of_tools_are_refused(turn: dict[str, Any]) -> None:
    example = Example("x", "a", messages=(USER, turn), chat_only=True, place="a.jsonl:3")
    with pytest.raises(UserError, match="^a.jsonl:3: a transcript has no place for calls of tools"):
        as_transcript(example)


def test_a_task_of_messages_for_a_model_without_a_template(tmp_path: Path) -> None:
    asked = [{"role": "user", "content": f"Q{n}"} for n in range(9)]
    no = {"role": "assistant", "content": "No."}
    rows = [{"chosen": [question, HI], "rejected": [question, no]} for question in asked]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = Local(path=str(path), turns="transcript", holdout=0.01)
    pair = task.preferences(0, Dropped())[0]
    assert (pair.prompt, pair.meta) == ("\n\nHuman: Q0\n\nAssistant:", {})
    assert (pair.chosen, pair.rejected) == (Completion("White tea. "), Completion("No."))
    with pytest.raises(UserError, match="set prompt_style: chat_template, or turns: transcript for a model without"):
        Local(path=str(path)).preferences(0, Dropped())
    with pytest.raises(ValueError, match="turns: a transcript is text to continue"):
        Local(path=str(path), turns="transcript", prompt_style="chat_template")

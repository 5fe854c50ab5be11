from overopt.tasks.base import messages_of, render_completion
from overopt.types import PromptRecord


def test_a_raw_completion_stands_behind_exactly_one_space() -> None:
    assert render_completion("yes", "raw") == render_completion("  yes", "raw") == " yes"
    assert render_completion("\n  yes", "raw") == " \n  yes"


def test_a_chat_completion_stands_behind_none() -> None:
    assert render_completion(" yes", "chat_template") == "yes"


def test_an_empty_completion_is_eos_alone() -> None:
    assert render_completion("", "raw") == render_completion(" ", "raw") == ""


def test_messages_are_the_files_own_or_one_user_turn() -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    assert messages_of(PromptRecord("0", "Why?")) == [{"role": "user", "content": "Why?"}]
    assert messages_of(PromptRecord("0", "system: ...", meta={"messages": turns})) == turns

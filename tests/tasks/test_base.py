from overopt.tasks.base import Joint, joint_after, messages_of, own_text
from overopt.types import PromptRecord


def test_one_space_joins_where_neither_side_has_white_space() -> None:
    assert joint_after("Capital:") == ("Capital:", Joint(" "))
    assert joint_after("def f():\n") == ("def f():\n", Joint(""))
    assert Joint(" ").join("Paris") == Joint(" ").join(" Paris") == " Paris"
    assert Joint(" ").join("    return") == "    return"
    assert Joint(" ").join("\n  yes") == "\n  yes"
    assert Joint("").join("return") == "return"


def test_the_prompts_own_last_space_is_the_joint() -> None:
    bare, joint = joint_after("Capital: ")
    assert (bare, joint) == ("Capital:", Joint(" ", own=True))
    assert (joint.join("Paris"), joint.join("  Paris")) == (" Paris", "   Paris")
    assert joint_after("a:\n ") == ("a:\n ", Joint(""))  # an indentation
    assert joint_after(" ") == (" ", Joint(""))


def test_parting_inverts_joining() -> None:
    for joint in (Joint(" "), Joint(""), Joint(" ", own=True), Joint("<think>\n\n</think>\n\n")):
        for text in ("yes", "    return", "\n yes", "\tyes", "  "):
            assert joint.part(joint.join(text)) == text
    assert Joint(" ").part(" yes") == "yes"
    assert Joint("", own=True).part(" yes") == Joint(" ", own=True).part("  yes") == " yes"


def test_thoughts_are_not_put_before_thoughts() -> None:
    joint = Joint("<think>\n\n</think>\n\n")
    assert joint.join("  yes") == "<think>\n\n</think>\n\n  yes"
    assert joint.join("<think>hm</think>yes") == "<think>hm</think>yes"


def test_an_empty_completion_joins_nothing() -> None:
    assert Joint(" ").join("") == Joint(" ", own=True).join("") == ""


def test_a_files_completion_is_what_follows_the_joint() -> None:
    assert own_text(" Paris", "Capital:", "raw") == own_text("Paris", "Capital:", "raw") == "Paris"
    assert own_text(" Paris", "Capital: ", "raw") == "Paris"
    assert own_text("    return", "def f():\n", "raw") == own_text("    return", "def f():", "raw") == "    return"
    assert own_text(" - item", "List:\n", "raw") == " - item"
    assert own_text(" ", "Capital:", "raw") == ""
    assert own_text(" Paris", "Capital:", "chat_template") == " Paris"


def test_messages_are_the_files_own_or_one_user_turn() -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    assert messages_of(PromptRecord("0", "Why?")) == [{"role": "user", "content": "Why?"}]
    assert messages_of(PromptRecord("0", "system: ...", meta={"messages": turns})) == turns

from overopt.tasks.base import Joint, messages_of, prompt_and_joint, strip_joint
from overopt.types import PromptRecord


def test_one_space_joins_where_neither_side_has_white_space() -> None:
    assert prompt_and_joint("Capital:") == ("Capital:", Joint(" "))
    assert prompt_and_joint("def f():\n") == ("def f():\n", Joint(""))
    assert Joint(" ").join("Paris") == Joint(" ").join(" Paris") == " Paris"
    assert Joint(" ").join("    return") == "    return"
    assert Joint(" ").join("\n  yes") == "\n  yes"
    assert Joint("").join("return") == "return"


def test_the_prompts_own_last_space_is_the_joint() -> None:
    bare, joint = prompt_and_joint("Capital: ")
    assert (bare, joint) == ("Capital:", Joint(" ", own=True))
    assert (joint.join("Paris"), joint.join("  Paris")) == (" Paris", "   Paris")
    assert prompt_and_joint("a:\n ") == ("a:\n ", Joint(""))  # an indentation
    assert prompt_and_joint(" ") == (" ", Joint(""))


def test_parting_inverts_joining() -> None:
    for joint in (Joint(" "), Joint(""), Joint(" ", own=True), Joint("<think>\n\n</think>\n\n")):
        for text in ("yes", "    return", "\n yes", "\tyes", "  "):
            assert joint.remove(joint.join(text)) == text
    assert Joint(" ").remove(" yes") == "yes"
    assert Joint("", own=True).remove(" yes") == Joint(" ", own=True).remove("  yes") == " yes"


def test_thoughts_are_not_put_before_thoughts() -> None:
    joint = Joint("<think>\n\n</think>\n\n")
    assert joint.join("  yes") == "<think>\n\n</think>\n\n  yes"
    assert joint.join("<think>hm</think>yes") == "<think>hm</think>yes"


def test_an_empty_completion_joins_nothing() -> None:
    assert Joint(" ").join("") == Joint(" ", own=True).join("") == ""


def test_a_files_completion_is_what_follows_the_joint() -> None:
    assert strip_joint(" Paris", "Capital:", "raw") == strip_joint("Paris", "Capital:", "raw") == "Paris"
    assert strip_joint(" Paris", "Capital: ", "raw") == "Paris"
    assert (
        strip_joint("    return", "def f():\n", "raw") == strip_joint("    return", "def f():", "raw") == "    return"
    )
    assert strip_joint(" - item", "List:\n", "raw") == " - item"
    assert strip_joint(" ", "Capital:", "raw") == ""
    assert strip_joint(" Paris", "Capital:", "chat_template") == " Paris"


def test_messages_are_the_files_own_or_one_user_turn() -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    assert messages_of(PromptRecord("0", "Why?")) == [{"role": "user", "content": "Why?"}]
    assert messages_of(PromptRecord("0", "system: ...", meta={"messages": turns})) == turns

"""How `overopt show` prints records."""

from __future__ import annotations

from rich.text import Text

from overopt.cli.samples import colored_lines, plain_lines
from overopt.planning.samples import Part, Piece, Sample, Shown

PROMPT = Part("prompt", [Piece((5,), "Hi"), Piece((6,), "\n", "loss"), Piece((7, 8), "é\x1b[31m", "loss")])
ANSWER = Part("completion", [Piece((1,), "ok", "score")])
SHOWN = Shown(("a", "b"), "sft", "demonstrations", 1200, "the loss is here", [Sample("x.jsonl:3", [PROMPT, ANSWER])])


def test_in_a_pipe_bars_part_tokens_and_headings_say_where_the_loss_falls() -> None:
    assert list(plain_lines(SHOWN)) == [
        "a, b: stage sft, 1 of 1,200 demonstrations; the loss is here",
        "\n1. x.jsonl:3",
        "  prompt: 1 token",
        "    |Hi",
        "  prompt, in the loss: 3 tokens",
        "    |⏎",
        "    |é␛[31m",
        "  completion, the score is read here: 1 token",
        "    |ok",
        "",
    ]


def test_what_is_left_out_is_said() -> None:
    shown = Shown(("a",), "sft", "prompts", 1, "", [], {"empty prompt": 2, "blank line": 1})
    assert list(plain_lines(shown))[1] == "left out: 2 x empty prompt; 1 x blank line"


def test_in_a_terminal_color_says_it_and_no_text_of_the_data_acts_on_it() -> None:
    lines: list[Text] = list(colored_lines(SHOWN))
    prompt = next(line for line in lines if line.plain.startswith("Hi"))
    assert prompt.plain == "Hi⏎\né␛[31m"
    assert [str(span.style) for span in prompt.spans] == ["dim", "green reverse", "green"]
    answer = next(line for line in lines if line.plain == "ok")
    assert [str(span.style) for span in answer.spans] == ["yellow"]

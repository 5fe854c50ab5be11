"""Which form a file is in, and what every form's examples go through (tasks/formats/__init__.py)."""

import json
from pathlib import Path
from typing import Any

import pytest

from overopt.errors import UserError
from overopt.tasks.formats import (
    FORMATS,
    conversation,
    detect,
    generic,
    hh,
    instruction,
    llmbar,
    read_examples,
    sharegpt,
    tldr_axes,
    ultrafeedback,
)
from overopt.types import Dropped


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def pair(prompt: str, chosen: str = "good", rejected: str = "bad") -> dict[str, str]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


@pytest.mark.parametrize(
    ("row", "form"),
    [
        ({"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}, hh),
        ({"prompt": "\n\nHuman: a\n\nAssistant:", "chosen": " b", "rejected": " c"}, generic),
        ({"chosen": "b", "rejected": "c"}, generic),
        ({"input": "a", "output_1": "b", "output_2": "c", "label": 1, "source": "d"}, llmbar),
        ({"messages": [{"role": "user", "content": "a"}]}, conversation),
        ({"prompt": "a", "chosen": "b", "rejected": "c", "messages": []}, generic),
        ({"instruction": "a", "input": "", "output": "b"}, instruction),
        ({"question": "a", "answer": "b"}, instruction),
        ({"conversations": [{"from": "human", "value": "a"}]}, sharegpt),
        ({"instruction": "a", "completions": [{"response": "b", "annotations": {}}]}, ultrafeedback),
        ({"instruction": "a", "completions": [], "output": "b"}, instruction),
        ({"info": {"post": "a"}, "summary": {"text": "b", "axes": {"overall": 7}}}, tldr_axes),
        ({"query": "a", "chosen": "b", "rejected": "c"}, instruction),
    ],
)
def test_the_first_row_tells_the_form(row: dict[str, Any], form: object) -> None:
    assert detect(row) is form


def test_fields_that_fit_no_format_are_named_with_what_each_format_needs(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_examples(write(tmp_path / "a.jsonl", {"transcript": "a", "rating": 1}), "auto", Dropped())
    first, *needs = str(caught.value).splitlines()
    assert first == (
        f"{tmp_path / 'a.jsonl'}:1: the fields of this record (transcript, rating) fit no format; "
        "rename them to those of one:"
    )
    assert [line.split()[0] for line in needs] == list(FORMATS)
    assert "  messages             messages" in needs
    assert needs[-1].endswith("prompt, alone or with chosen and rejected or with completion, reference or response")


def test_empty_prompts_and_identical_completions_are_dropped_and_counted(tmp_path: Path) -> None:
    path = write(
        tmp_path / "pairs.jsonl", pair("a"), pair(" "), pair("b", "same", "same"), pair("", "x", "x"), pair("c")
    )
    dropped = Dropped()
    examples = read_examples(path, "auto", dropped)
    assert [(example.prompt, example.place) for example in examples] == [("a", f"{path}:1"), ("c", f"{path}:5")]
    assert dropped.reasons == {"empty prompt": 2, "chosen and rejected are identical": 1}


def test_completions_of_which_training_makes_the_same_are_identical(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", pair("a"), pair("b", "x", "  x"), pair("c", "\n", "  "), pair("d", "x", "X"))
    dropped = Dropped()
    examples = read_examples(path, "auto", dropped, normalize=lambda text, prompt: text.lstrip(" "))
    assert [example.prompt for example in examples] == ["a", "d"]
    assert dropped.reasons == {"chosen and rejected are identical": 2}


def test_tools_and_labels_stand_beside_any_form(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "add"}}]
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    ranked = {"prompt": "a", "responses": ["b", "c"], "ranking": [1, 0]}
    rows = {
        "generic": pair("a"),
        "ranking": ranked,
        "messages": {"messages": talk, "label": False},
        "alpaca": {"instruction": "a", "output": "b", "label": False},
    }
    for name, row in rows.items():
        (example,) = read_examples(write(tmp_path / f"{name}.jsonl", {**row, "tools": tools}), "auto", Dropped())
        assert example.columns["tools"] == tools
        assert example.desirable is (False if "label" in row else None)


def test_text_that_no_tokenizer_takes_is_dropped(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", pair("a"), pair("b \ud83d"), pair("c \U0001f375"))
    dropped = Dropped()
    assert [example.prompt for example in read_examples(path, "auto", dropped)] == ["a", "c \U0001f375"]
    assert dropped.reasons == {"text with half a surrogate pair": 1}


def test_an_error_names_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", pair("a"), {"prompt": "b", "chosen": "good"})
    with pytest.raises(UserError) as error:
        read_examples(path, "auto", Dropped())
    assert str(error.value) == f"{path}:2: a record without its field 'rejected' (fields present: prompt, chosen)"


def test_a_named_form_is_not_guessed(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", pair("a"))
    with pytest.raises(UserError, match="pairs.jsonl:1: a record without its field 'input'"):
        read_examples(path, "llmbar", Dropped())


def test_the_limit_counts_usable_records(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", pair(""), pair("a"), pair("b"), pair("c"))
    assert [example.prompt for example in read_examples(path, "auto", Dropped(), limit=2)] == ["a", "b"]


def test_nothing_usable_is_an_error_that_says_why(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", pair(""), pair("", "x", "y"))
    with pytest.raises(UserError, match=r"no usable record \(dropped: 2 x empty prompt\)"):
        read_examples(path, "auto", Dropped())
    (tmp_path / "none.json").write_text("[]")
    with pytest.raises(UserError, match="the file has no records"):
        read_examples(tmp_path / "none.json", "auto", Dropped())

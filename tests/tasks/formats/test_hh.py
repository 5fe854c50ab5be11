"""HH's form on invented, harmless transcripts and, where a real excerpt lies beside the checkout, on its counts."""

import gzip
import json
from pathlib import Path

import pytest

from overopt.errors import UserError
from overopt.tasks.formats import read_examples
from overopt.tasks.formats.example import Example
from overopt.tasks.formats.hh import read
from overopt.types import Dropped

EXCERPT = Path(__file__).parents[4] / "shared" / "data" / "hh_harmless_sample.jsonl.gz"

OPENING = "\n\nHuman: Which tea is mild?\n\nAssistant: White tea.\n\nHuman: And strong?\n\nAssistant:"


def test_the_prompt_ends_where_the_last_answer_begins() -> None:
    row = {"chosen": f"{OPENING} Black tea.", "rejected": f"{OPENING} Tea."}
    turns = (
        {"role": "user", "content": "Which tea is mild?"},
        {"role": "assistant", "content": "White tea."},
        {"role": "user", "content": "And strong?"},
    )
    assert read(row, Dropped()) == Example(OPENING, "Black tea.", "Tea.", messages=turns)


def test_an_empty_answer_is_kept() -> None:
    example = read({"chosen": f"{OPENING} ", "rejected": f"{OPENING} Tea."}, Dropped())
    assert example is not None and (example.reference, example.rejected) == ("", "Tea.")


def test_transcripts_that_part_early_are_dropped() -> None:
    dropped = Dropped()
    other = OPENING.replace("White", "Green")
    assert read({"chosen": f"{OPENING} Black tea.", "rejected": f"{other} Black tea."}, dropped) is None
    longer = f"{OPENING} Tea.\n\nHuman: Really?\n\nAssistant: Yes."
    assert read({"chosen": longer, "rejected": f"{OPENING} Tea."}, dropped) is None
    assert dropped.reasons == {"chosen and rejected differ before the last turn": 2}


def test_transcripts_that_end_with_the_human_are_dropped() -> None:
    dropped = Dropped()
    assert read({"chosen": f"{OPENING} Black.\n\nHuman: Thanks!", "rejected": f"{OPENING} Tea."}, dropped) is None
    assert dropped.reasons == {"the last turn is not the assistant's": 1}


def test_malformed_records_are_the_users_error() -> None:
    with pytest.raises(UserError, match="without its field 'rejected'"):
        read({"chosen": OPENING}, Dropped())
    with pytest.raises(UserError, match="not a transcript"):
        read({"chosen": OPENING, "rejected": "Tea."}, Dropped())


def test_a_compressed_file(tmp_path: Path) -> None:
    rows = [{"chosen": f"{OPENING} Black {n}.", "rejected": f"{OPENING} Tea."} for n in range(3)]
    path = tmp_path / "test.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    examples = read_examples(path, "auto", Dropped())
    assert [example.reference for example in examples] == ["Black 0.", "Black 1.", "Black 2."]


@pytest.mark.skipif(not EXCERPT.exists(), reason="the excerpt is not beside this checkout")
def test_the_excerpt_is_read_whole() -> None:
    """Conditions only as plain booleans: a failure must not print any of its text."""
    dropped = Dropped()
    examples = read_examples(EXCERPT, "auto", dropped)
    counts = (len(examples), sum(dropped.reasons.values()))
    prompts_end_alike = all(example.prompt.endswith("\n\nAssistant:") for example in examples)
    joined = not any((example.reference or "").startswith(" ") for example in examples)
    turns_end_with_the_user = all((example.messages or ({},))[-1].get("role") == "user" for example in examples)
    del examples
    assert counts == (200, 0)
    assert prompts_end_alike and joined and turns_end_with_the_user

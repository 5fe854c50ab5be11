import json
from pathlib import Path
from typing import Any

import pytest

from overopt.errors import UserError
from overopt.tasks.formats import read_examples
from overopt.tasks.formats.example import Example
from overopt.tasks.formats.llmbar import read
from overopt.types import Dropped

ROW = {"input": "Name a fruit.", "output_1": "Pear.", "output_2": "Carrots are roots.", "label": 1}


def test_the_label_names_the_chosen_output() -> None:
    assert read(ROW, Dropped()) == Example("Name a fruit.", "Pear.", "Carrots are roots.")
    assert read({**ROW, "label": 2}, Dropped()) == Example("Name a fruit.", "Carrots are roots.", "Pear.")


@pytest.mark.parametrize("label", [0, 3, "one", True])
def test_any_other_label_is_the_users_error(label: Any) -> None:
    with pytest.raises(UserError, match="field 'label' must be 1 or 2, got"):
        read({**ROW, "label": label}, Dropped())


def test_missing_and_wrong_fields() -> None:
    with pytest.raises(UserError, match=r"without its field 'output_2' \(fields present: input, output_1, label\)"):
        read({name: ROW[name] for name in ("input", "output_1", "label")}, Dropped())
    with pytest.raises(UserError, match="field 'output_1' must be text, got list"):
        read({**ROW, "output_1": ["Pear."]}, Dropped())


def test_a_file_as_it_is_published(tmp_path: Path) -> None:
    """One JSON list, indented; pairs whose outputs agree say nothing."""
    path = tmp_path / "dataset.json"
    path.write_text(
        json.dumps([ROW, {**ROW, "output_2": "Pear."}, {**ROW, "input": "Add a fruit.", "label": 2}], indent=2)
    )
    dropped = Dropped()
    assert [(example.prompt, example.reference) for example in read_examples(path, "auto", dropped)] == [
        ("Name a fruit.", "Pear."),
        ("Add a fruit.", "Carrots are roots."),
    ]
    assert dropped.reasons == {"chosen and rejected are identical": 1}


def test_a_label_may_be_text_as_a_csv_has_it() -> None:
    row = {"input": "a", "output_1": "b", "output_2": "c", "label": "2"}
    assert read(row, Dropped()) == Example("a", "c", "b")

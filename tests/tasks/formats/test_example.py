import pytest

from overopt.errors import UserError
from overopt.tasks.formats.example import require, text_field


def test_a_missing_field_is_named_with_those_present() -> None:
    with pytest.raises(UserError, match=r"without its field 'label' \(fields present: input, output_1\)"):
        require({"input": "a", "output_1": "b"}, ["input", "label"])
    with pytest.raises(UserError, match=r"fields present: none"):
        require({}, ["input"])


def test_text_is_text() -> None:
    assert text_field({"input": "a"}, "input") == "a"
    with pytest.raises(UserError, match="field 'input' must be text, got int"):
        text_field({"input": 3}, "input")

from typing import Any

import pytest

from overopt.errors import UserError
from overopt.tasks.formats.extras import read_extras

TOOL = {"type": "function", "function": {"name": "add"}}


@pytest.mark.parametrize("tools", [[TOOL], '[{"type": "function", "function": {"name": "add"}}]'])
def test_tools_are_a_list_or_its_json(tools: Any) -> None:
    assert read_extras({"prompt": "a", "tools": tools}) == {"tools": [TOOL]}


@pytest.mark.parametrize("tools", [[], "", " ", "[]", [{}]])
def test_no_tools_are_none(tools: Any) -> None:
    row = {"prompt": "a", "tools": tools}
    assert read_extras(row) == {} and row == {"prompt": "a"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tools": "hammer"}, "field 'tools': not JSON"),
        ({"tools": ["hammer"]}, "field 'tools' must be a list of tools, .*; rename any other field"),
        ({"tools": {"a": 1}}, "field 'tools' must be a list of tools"),
        ({"images": ["a.png"]}, "field 'images' is part of the prompt, and only text is trained on"),
        ({"chat_template_kwargs": {"enable_thinking": False}}, "field 'chat_template_kwargs' is part of the prompt"),
    ],
)
def test_what_would_be_left_out_is_refused_by_name(row: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_extras(row)


def test_empty_columns_of_pictures_are_no_pictures() -> None:
    assert read_extras({"prompt": "a", "images": []}) == {}

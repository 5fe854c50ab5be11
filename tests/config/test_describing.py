"""Fields of blocks in words."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field

from overopt.config import Choice, Location, block
from overopt.config.describing import describe_fields, describe_type, shown_default


@block
class Small:
    size: int = 1


@block
class Large:
    size: int = 100


@block
class Everything:
    folder: Location
    scale: Annotated[float, Field(gt=0, le=2)] = 0.5
    """What it is
    multiplied by."""
    mode: Literal["sum", "mean"] = "sum"
    thing: Annotated[float | Small | Large, Choice()] = Small()
    words: list[str] = Field(default_factory=list)
    limit: Annotated[int, Field(ge=0)] | None = None


def test_each_field_has_its_type_default_and_doc() -> None:
    rows = {row["name"]: row for row in describe_fields(Everything)}
    assert rows["folder"] == {"name": "folder", "type": "path or name on the Hub", "doc": ""}
    assert rows["scale"] == {
        "name": "scale",
        "type": "number > 0 <= 2",
        "default": 0.5,
        "doc": "What it is multiplied by.",
    }
    assert rows["thing"]["default"] == {"name": "small", "size": 1}
    assert rows["words"]["default"] == []
    assert rows["limit"]["type"] == "whole number >= 0 or null"
    assert list(rows) == ["folder", "scale", "mode", "thing", "words", "limit"]


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Literal["sum", "mean"], "one of sum, mean"),
        (Annotated[float | Small | Large, Choice()], "number or one of small, large"),
        (list[Annotated[Small, Choice()]], "list of one of small"),
        (dict[str, str], "mapping"),
        (tuple[float, float], "list of number, number"),
        (Small, "small"),
    ],
)
def test_types_are_said_in_the_users_words(annotation: object, words: str) -> None:
    assert describe_type(annotation) == words


def test_a_default_is_shown_as_yaml_takes_it() -> None:
    assert shown_default({"default": None}) == "null"
    assert shown_default({"default": [0.9, 0.95]}) == "[0.9, 0.95]"
    assert shown_default({}) == ""

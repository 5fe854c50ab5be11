"""Every example that a help text shows is a valid command line."""

from __future__ import annotations

import re
import shlex

import pytest

from overopt.cli import help_texts
from overopt.cli.parser import parse

TEXTS = {name: text for name, text in vars(help_texts).items() if name.isupper()}
EXAMPLES = [
    (name, line)
    for name, text in TEXTS.items()
    for line in re.findall(r"^  overopt (\S.*?)(?:  .*)?$", text, re.MULTILINE)
]


@pytest.mark.parametrize(("name", "line"), EXAMPLES, ids=[line for _, line in EXAMPLES])
def test_an_example_is_understood(name: str, line: str) -> None:
    options = parse(shlex.split(line.partition(" | ")[0]))
    if name != "DESCRIPTION":
        assert options.verb.__name__ == name.lower()


def test_each_text_has_examples() -> None:
    assert {name for name, _ in EXAMPLES} == TEXTS.keys()

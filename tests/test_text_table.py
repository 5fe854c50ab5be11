"""Tables as plain text, and what is left of them on a narrow terminal."""

from __future__ import annotations

import io

import pytest

from overopt.text_table import colored_table, fitting_columns, text_table

HEADER, ROWS = ("name", "n", "remark"), [("a", "10", "long remark"), ("longer", "2", "")]


def test_columns_are_aligned_below_a_rule() -> None:
    assert text_table(HEADER, ROWS).splitlines() == [
        "name    n   remark",
        "-----------------------",
        "a       10  long remark",
        "longer  2",
    ]  # fmt: skip


def test_columns_may_be_right_aligned_and_the_rule_left_out() -> None:
    assert text_table(HEADER, ROWS, rule=False, right=("n",)).splitlines() == [
        "name     n  remark",
        "a       10  long remark",
        "longer   2",
    ]
    assert text_table(("a", "b"), []) == "a  b\n----"


@pytest.mark.parametrize(("width", "shown"), [(28, [0, 1, 2]), (27, [0, 1]), (13, [0]), (1, [0])])
def test_a_narrow_terminal_goes_without_expendable_columns(width: int, shown: list[int]) -> None:
    """The columns take 6 + 2 + 11 characters, and three more each."""
    assert fitting_columns(HEADER, ROWS, width, ("remark", "n")) == shown


def test_a_colored_table_styles_cells_by_their_text() -> None:
    from rich.console import Console

    table = colored_table(HEADER, ROWS, {"10": "bold red"}, 80, (), caption="two rows")
    stream = io.StringIO()
    Console(file=stream, force_terminal=True, color_system="standard", width=80).print(table)
    assert "\x1b[1;31m10\x1b[0m" in stream.getvalue()
    assert "long remark" in stream.getvalue()
    assert "two rows" in stream.getvalue()

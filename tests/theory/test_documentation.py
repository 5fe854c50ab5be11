"""The page on the theory says what is checked, and its example's numbers are those of the closed forms."""

from __future__ import annotations

from pathlib import Path

import pytest

from overopt.theory import closed_forms
from overopt.theory.candidates import worked_example
from overopt.theory.optima import entropy_objective
from overopt.theory.statements import verify

PAGE = (Path(__file__).parents[2] / "docs" / "theory.md").read_text(encoding="utf-8")


def test_the_page_shows_every_part_as_it_is_printed() -> None:
    shown = PAGE.partition("```text\n")[2].partition("```")[0].splitlines()[2:]
    rows = [line.split(maxsplit=4) for line in shown[: shown.index("")]]
    assert [(name, holds, statement) for name, holds, _, _, statement in rows] == [
        (check.id, "yes", check.statement) for check in verify()
    ]


@pytest.mark.parametrize(
    ("form", "row"),
    [
        ("maxent_optimum", "| Eq. 3 at"),
        ("naive_substitution", "| the substitution, T14 |"),
        ("length_normalized_maximizer", "| the maximizer, T11 |"),
        ("trained_fixed_point", "| the fixed point of training, T12 |"),
    ],
)
def test_the_example_by_hand(form: str, row: str) -> None:
    c, function = worked_example(), getattr(closed_forms, form)
    lengths = () if form == "maxent_optimum" else (c.length_N,)
    logp = function(c.reward_N, *lengths, c.temperature)
    (line,) = [line for line in PAGE.splitlines() if line.startswith(row)]
    first, second, difference, value = [cell.strip() for cell in line.strip("| ").split("|")][1:]
    assert [first, second] == [f"{p:.3f}" for p in logp.exp().tolist()]
    reward = c.temperature * logp / c.length_N
    assert f"{float(reward[0] - reward[1]):.3f}" in difference
    assert f"{float(entropy_objective(logp, c.reward_N, c.temperature / c.length_N)):.4f}" == value.strip("*")

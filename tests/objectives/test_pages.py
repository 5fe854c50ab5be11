"""The dictionary as text."""

from __future__ import annotations

from overopt.objectives.dictionary import dictionary
from overopt.objectives.pages import page, table


def test_the_table_has_every_objective_under_its_kind() -> None:
    lines = table().splitlines()
    kinds = [line.split()[0] for line in lines if line and not line.startswith((" ", "overopt"))]
    assert kinds == list(dict.fromkeys(row["kind"] for row in dictionary()))
    named = [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]
    assert named == [row["name"] for row in dictionary()]
    assert max(map(len, lines)) <= 110


def test_a_page_says_everything_of_one() -> None:
    text = page("simpo")
    assert text.startswith("simpo  (pair_loss; offline: loss)\n\nSimple preference optimization")
    assert "\n  L = -log sigma(alpha l_w/|y_w| - alpha l_l/|y_l| - gamma)\n" in text
    assert "  alpha                   number > 0, default 2.0\n" in text
    assert "needs   nothing more\n" in text
    assert "source  Meng et al. 2024" in text
    assert "  trl       CPOTrainer(loss_type='simpo', beta=alpha, simpo_gamma=gamma, cpo_alpha=0.0)" in text


def test_a_page_of_one_that_asks_for_more() -> None:
    assert "needs   mismatched, reference\n" in page("kto")
    assert "elsewhere: not found, or not the same" in page("entropy_sum")
    assert "no fields" in page("rloo")

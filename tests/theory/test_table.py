from __future__ import annotations

from overopt.theory.checks import Check
from overopt.theory.table import checks_table, summary

GOOD = Check("T1.a", "one is one", 2.5e-16, 1e-12)
BAD = Check("T10", "one is two", 1.0, 1e-6)


def test_a_line_per_check() -> None:
    assert checks_table([GOOD, BAD]) == (
        "id    holds  residual  tolerance  statement\n"
        "--------------------------------------------\n"
        "T1.a  yes    2.5e-16   1e-12      one is one\n"
        "T10   NO     1.0e+00   1e-06      one is two\n"
        "\n"
        "1 of 2 do not hold: T10"
    )


def test_summary() -> None:
    assert summary([GOOD, GOOD]) == "all 2 hold"
    assert summary([BAD, GOOD, BAD]) == "2 of 3 do not hold: T10, T10"

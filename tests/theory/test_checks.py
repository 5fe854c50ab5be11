from __future__ import annotations

import json
from math import inf, nan

import pytest
import torch
from float64 import numbers

from overopt.theory.checks import Check, at_most, differ, equal


def test_equality_takes_the_largest_error_of_either_sign() -> None:
    check = equal("T0.a", "zero", [numbers(1e-13, -3e-13), torch.tensor(2e-13)])
    assert (check.id, check.statement, check.tolerance) == ("T0.a", "zero", 1e-12)
    assert check.residual == pytest.approx(3e-13) and check.holds
    assert not equal("T0.a", "zero", [numbers(0, -2e-12)]).holds
    assert equal("T0.a", "zero", [numbers(-2e-12)], tolerance=1e-6).holds


def test_inequality_counts_only_what_is_above() -> None:
    assert at_most("T0", "no more", [numbers(-5, -1)]).residual == 0
    above = at_most("T0", "no more", [numbers(-5), numbers(0.25)])
    assert above.residual == 0.25 and not above.holds


def test_a_difference_lacks_what_its_gap_lacks() -> None:
    enough = differ("T0", "apart", numbers(0.01, -0.5), 0.5)
    assert (enough.residual, enough.tolerance, enough.holds) == (0, 0, True)
    assert enough.statement == "apart (by 0.5 or more)"
    lacking = differ("T0", "apart", numbers(0.125), 0.5)
    assert lacking.residual == 0.375 and not lacking.holds


def test_no_number_never_holds() -> None:
    for check in (
        equal("T0", "", [numbers(0, nan, 0)]),
        at_most("T0", "", [numbers(-1, nan)]),
        differ("T0", "", numbers(nan), 0.1),
        Check("T0", "", inf, 1e-12),
    ):
        assert not check.holds
        row = json.loads(json.dumps(check.row(), allow_nan=False))
        assert row == {"id": "T0", "statement": check.statement, "holds": False, "residual": None} | {
            "tolerance": check.tolerance
        }

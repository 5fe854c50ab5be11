"""The statements T1 to T16, in order, and all their checks."""

from __future__ import annotations

from overopt.theory.checks import Check
from overopt.theory.groups import t15
from overopt.theory.lengths import t11, t12, t13, t14
from overopt.theory.optima import t1, t2, t6, t7, t8, t16
from overopt.theory.preferences import t3, t4, t5, t9, t10

STATEMENTS = (t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11, t12, t13, t14, t15, t16)


def verify() -> list[Check]:
    """Check every part of every statement."""
    return [check for statement in STATEMENTS for check in statement()]

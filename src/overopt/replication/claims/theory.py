"""C1 to C9: the paper's theory, by the statements of `overopt theory` that it rests on."""

from __future__ import annotations

from collections.abc import Sequence

from overopt.replication.claims.claim import Claim, Rule
from overopt.replication.claims.logic import Finding, Number, Truth, any_of, untested
from overopt.replication.claims.study import Study


def rests_on(*statements: str, holding: Truth = Truth.YES) -> Rule:
    """A rule that every check of these statements holds; `holding` is what it says then of the claim."""

    def rule(study: Study) -> Finding:
        checks = [check for check in study.checks if check.id.partition(".")[0] in statements]
        if lacking := set(statements) - {check.id.partition(".")[0] for check in checks}:
            return untested(f"{', '.join(sorted(lacking))} is not checked")
        numbers = tuple(
            Number(f"{c.id}: residual", c.residual, None, c.tolerance, c.tolerance - c.residual) for c in checks
        )
        broken = [check for check in checks if not check.holds]
        if broken:
            said = "; ".join(f"{check.id} does not hold: {check.statement}" for check in broken)
            return Finding(Truth.NO, said, numbers)
        return Finding(holding, f"{len(checks)} checks of {' and '.join(statements)} hold", numbers)

    return rule


def _naive(study: Study) -> Finding:
    found = rests_on("T14")(study)
    if found.truth is Truth.UNTESTED:
        return found
    refuted = found.truth is Truth.YES
    reason = f"{found.reason}: pi ~ exp(|y| r/beta) is neither of the two optima" if refuted else found.reason
    return Finding(Truth.NO if refuted else Truth.UNCLEAR, reason, found.numbers)


def _any_reading(study: Study) -> Finding:
    found = any_of(part.finding(study) for part in READINGS)
    if found.truth is not Truth.YES:
        return found
    reason = (
        "exactly true of the fixed point that training on the detached bonus has (T12); up to a term of the lengths"
        " of the maximizer (T11); false where the temperature is put into Eq. 3 (T14)"
    )
    return Finding(Truth.YES, reason, found.numbers)


def _claim(number: int, statement: str, *statements: str) -> Claim:
    return Claim(f"C{number}", statement, f"every check of {' and '.join(statements)} holds", rests_on(*statements))


READINGS: Sequence[Claim] = (
    Claim(
        "C9.T11",
        "read as the maximizer of the length-normalized objective",
        "T11 holds: the two agree up to beta(1/|y_w| - 1/|y_l|), hence inconclusive as it stands",
        rests_on("T11", holding=Truth.UNCLEAR),
    ),
    Claim("C9.T12", "read as the fixed point of what is trained", "T12 holds: they agree exactly", rests_on("T12")),
    Claim("C9.T14", "read as Eq. 3 with a temperature beta/|y|", "T14 holds: contradicted", _naive),
)

THEORY: tuple[Claim, ...] = (
    _claim(
        1, "SimPO without length and margin is maximum likelihood under the MaxEnt-optimal policy (C.2)", "T3", "T10"
    ),
    _claim(2, "Eq. 3 is the unique optimum of the MaxEnt bandit (C.1)", "T1", "T2"),
    _claim(3, "Z cancels, for rankings as well; two candidates are Bradley-Terry (C.3)", "T4"),
    _claim(4, "Lemma 1: rewards that differ by f(x) give the same preferences (C.5)", "T5"),
    _claim(5, "Lemma 2: they give the same optimal policy, and the same RLOO advantages (C.5)", "T6", "T15"),
    _claim(6, "Theorem 1: every class of rewards contains alpha log pi of its optimum (C.6)", "T7"),
    _claim(7, "Proposition 1: that member of the class is unique (C.6)", "T8"),
    _claim(8, "the gradient of SimPO is the formula printed (C.4)", "T9"),
    Claim(
        "C9",
        "SimPO is MaxEnt RL with a length-normalized temperature (abstract of version 1)",
        "exactly true in one of its readings; all three are reported",
        _any_reading,
        tuple(READINGS),
    ),
)

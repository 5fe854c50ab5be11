"""Verdicts of C14, C15 and C29 on synthetic studies."""

from __future__ import annotations

import pytest
from claim_cases import KL, LOWEST, MAXENT, ME, base, found, verdict
from claim_cases import changed_base as with_
from synthetic_study import AT_ONCE, COLLAPSE, FLAT, GOOD, SEEDS, SFT_WINS, Curve, Plan, changed

LOW_1B, LOW_28, LOW_69 = (ME[size]["low"] for size in ME)
HIGH_1B = ME["1B"]["high"]
FINE = (LOW_1B, LOW_69, *KL)
HACKED = tuple(row for row in MAXENT if row not in FINE)
UP, DOWN, STILL = ({"series": {"neg_logp_tok": Curve(*ends)}} for ends in ((0.6, 1.2), (0.6, 0.3), (0.6, 0.6)))


def everywhere(claim: str, change: dict) -> Plan:  # type: ignore[type-arg]
    plan = base(claim)
    for row in {row for row, _ in plan}:
        plan = changed(plan, row, change)
    return plan


CASES: dict[str, tuple[str, Plan]] = {
    "C14 replicated": ("C14", base("C14")),
    "C14 replicated: five of six are 80 %": ("C14", with_("C14", (LOW_1B, UP, {"coef": 0.1}))),
    "C14 replicated: 0 is no MaxEnt": ("C14", with_("C14", (LOW_1B, UP, {"coef": 0.0}), (LOW_69, UP, {"coef": 0.0}))),
    "C14 contradicted: two of six stable ones rise": (
        "C14",
        with_("C14", (LOW_1B, UP, {"coef": 0.1}), (LOW_69, UP, {"coef": 0.1})),
    ),
    "C14 contradicted: over-optimized ones fall": ("C14", with_("C14", (HIGH_1B, DOWN, {}), (LOW_28, DOWN, {}))),
    "C14 inconclusive": ("C14", with_("C14", (LOW_1B, STILL, {}))),
    "C14 not tested: none over-optimizes": (
        "C14",
        with_("C14", *((row, GOOD, {}) for row in MAXENT)),
    ),
    "C14 not tested: none is stable": ("C14", with_("C14", (LOW_1B, COLLAPSE, {}), (LOW_69, COLLAPSE, {}))),
    "C15 replicated": ("C15", base("C15")),
    "C15 contradicted: entropy goes with good runs": (
        "C15",
        with_("C15", *((row, UP if row in (LOW_1B, LOW_69) else DOWN, {}) for row in MAXENT)),
    ),
    "C15 contradicted: a coefficient helps": (
        "C15",
        with_("C15", (HIGH_1B, {"wins": (SFT_WINS, 0.1, 0.35)}, {"coef": 0.1})),
    ),
    "C15 replicated: a coefficient may be worse": (
        "C15",
        with_("C15", (LOWEST, {"wins": (SFT_WINS, 0.1, 0.0)}, {"coef": 0.1})),
    ),
    "C15 inconclusive": ("C15", everywhere("C15", STILL)),
    "C15 not tested: nothing to prevent": ("C15", with_("C15", *((row, GOOD, {"coef": 0.0}) for row in MAXENT))),
    "C29 replicated": ("C29", base("C29")),
    "C29 contradicted: good runs fall more": (
        "C29",
        with_("C29", *((row, {"fall": 1.0}, {}) for row in FINE), *((row, {"fall": 0.1}, {}) for row in HACKED)),
    ),
    "C29 inconclusive: all fall alike": ("C29", everywhere("C29", {"fall": 0.5})),
    "C29 not tested: none is good": ("C29", with_("C29", *((row, FLAT, {}) for row in FINE))),
    "C29 not tested: none over-optimizes": (
        "C29",
        with_("C29", *((row, GOOD, {}) for row in MAXENT)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("seeds", [(100,), SEEDS], ids=["one seed", "five seeds"])
@pytest.mark.parametrize("case", CASES)
def test_verdicts(case: str, seeds: tuple[int, ...]) -> None:
    claim, plan = CASES[case]
    expected = case.removeprefix(f"{claim} ").partition(":")[0]
    assert verdict(claim, plan, seeds) == expected, found(claim, plan, seeds).reason


def test_falls_of_likelihood_are_compared_threefold() -> None:
    twice = everywhere("C29", {"fall": 0.1})
    for row in HACKED:
        twice = changed(twice, row, {"fall": 0.2, **AT_ONCE})
    part = found("C29.a", twice)
    assert part.truth.value == "inconclusive"  # more, but not three times as much: no opposite
    # mean falls of .2 and .1 nats a token
    assert [number.value for number in part.numbers[:2]] == [pytest.approx(0.2), pytest.approx(0.1)]
    assert part.numbers[2].value == pytest.approx(-0.1)


def test_the_share_stands_among_the_numbers() -> None:
    part = found("C14.a", with_("C14", (LOW_1B, UP, {"coef": 0.1})))
    assert (part.numbers[0].value, part.numbers[0].threshold) == (pytest.approx(5 / 6), 0.8)

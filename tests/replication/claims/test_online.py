"""Verdicts of C10 to C13, C16 to C20, C28, C30 to C33 on synthetic studies."""

from __future__ import annotations

import pytest
from claim_cases import LOWEST, ME, base, found, verdict
from claim_cases import changed_base as with_
from synthetic_study import COLLAPSE, FLAT, GOOD, OVER, OVER_PEAK, SEEDS, SFT_WINS, Curve, Plan, without

BETTER = {"wins": (SFT_WINS, 1.0)}


HIGH_1B, HIGH_28, HIGH_69 = (ME[size]["high"] for size in ME)
LOW_1B, LOW_28, LOW_69 = (ME[size]["low"] for size in ME)

CASES: dict[str, tuple[str, Plan]] = {
    "C10 replicated": ("C10", base("C10")),
    "C10 replicated: back from a peak counts": ("C10", with_("C10", (HIGH_69, OVER_PEAK, {"coef": 0.1}))),
    "C10 contradicted: one coefficient is good": ("C10", with_("C10", (HIGH_1B, GOOD, {"coef": 0.1}))),
    "C10 contradicted: 0 is among the coefficients": ("C10", with_("C10", (HIGH_69, GOOD, {"coef": 0.0}))),
    "C10 inconclusive: one is flat": ("C10", with_("C10", (HIGH_28, FLAT, {"coef": 0.1}))),
    "C10 inconclusive: a collapse is no over-optimization": ("C10", with_("C10", (HIGH_1B, COLLAPSE, {"coef": 0.5}))),
    "C11 replicated": ("C11", base("C11")),
    "C11 replicated: half of the runs suffice": ("C11", with_("C11", (HIGH_1B, BETTER, {}))),
    "C11 contradicted: above SFT until half": ("C11", with_("C11", (HIGH_1B, BETTER, {}), (HIGH_69, BETTER, {}))),
    "C11 inconclusive": ("C11", with_("C11", (HIGH_1B, FLAT, {}), (HIGH_69, FLAT, {"coef": 0.0}))),
    "C12 replicated": ("C12", base("C12")),
    "C12 replicated: one good coefficient suffices": (
        "C12",
        with_("C12", *((LOW_1B, FLAT, {"coef": coef}) for coef in (0.0, 0.05, 0.5))),
    ),
    "C12 contradicted: one over-optimizes": ("C12", with_("C12", (LOW_1B, OVER, {"coef": 0.5}))),
    "C12 contradicted: one collapses": ("C12", with_("C12", (LOW_1B, COLLAPSE, {"coef": 0.0}))),
    "C12 inconclusive: only 0 is good": (
        "C12",
        with_("C12", *((LOW_1B, FLAT, {"coef": coef}) for coef in (0.05, 0.1, 0.5))),
    ),
    "C13 replicated": ("C13", base("C13")),
    "C13 contradicted: entropy gains": ("C13", with_("C13", (LOW_1B, BETTER, {"coef": 0.5}))),
    "C13 contradicted: 0 is over-optimized": ("C13", with_("C13", (LOW_1B, OVER, {"coef": 0.0}))),
    "C13 inconclusive: 0 is better": ("C13", with_("C13", (LOW_1B, BETTER, {"coef": 0.0}))),
    "C13 inconclusive: nothing gains": ("C13", with_("C13", (LOW_1B, FLAT, {}))),
    "C16 replicated": ("C16", base("C16")),
    "C16 contradicted": ("C16", with_("C16", (LOWEST, GOOD, {"coef": 0.05}))),
    "C16 inconclusive": ("C16", with_("C16", (LOW_28, FLAT, {"coef": 0.05}))),
    "C16.weak.1e-7 replicated": ("C16.weak.1e-7", with_("C16", (LOW_28, FLAT, {}))),
    "C16.weak.5e-8 contradicted": ("C16.weak.5e-8", with_("C16", (LOWEST, GOOD, {"coef": 0.5}))),
    "C17 replicated": ("C17", base("C17")),
    "C17 contradicted": ("C17", with_("C17", ("KL-2.8B", OVER, {}))),
    "C17 inconclusive": ("C17", with_("C17", ("KL-2.8B", FLAT, {}))),
    "C18 replicated": ("C18", base("C18")),
    "C18 contradicted": ("C18", with_("C18", ("KL-1B", OVER_PEAK, {}))),
    "C18 contradicted: it diverged": ("C18", with_("C18", ("KL-1B", {"status": "diverged"}, {}))),
    "C18 inconclusive": ("C18", with_("C18", ("KL-1B", FLAT, {}))),
    "C19 replicated": ("C19", base("C19")),
    "C19 contradicted: over-optimized": ("C19", with_("C19", (LOW_69, OVER, {"coef": 0.1}))),
    "C19 contradicted: the score falls": (
        "C19",
        with_("C19", (LOW_69, {"series": {"score_mean": Curve(2, 0)}}, {"coef": 0.1})),
    ),
    "C19 inconclusive: the score stays": (
        "C19",
        with_("C19", (LOW_69, {"series": {"score_mean": Curve(2, 2)}}, {"coef": 0.1})),
    ),
    "C20 replicated": ("C20", base("C20")),
    "C20 contradicted": ("C20", with_("C20", (HIGH_69, GOOD, {"coef": 0.1}))),
    "C20 inconclusive": ("C20", with_("C20", (HIGH_69, FLAT, {"coef": 0.1}))),
    "C28 replicated": ("C28", base("C28")),
    "C28 contradicted: 2.8B is good": ("C28", with_("C28", (LOW_28, GOOD, {"coef": 0.1}))),
    "C28 contradicted: 1B over-optimizes": ("C28", with_("C28", (LOW_1B, OVER, {"coef": 0.1}))),
    "C28 contradicted: 6.9B over-optimizes": ("C28", with_("C28", (LOW_69, OVER, {"coef": 0.1}))),
    "C28 inconclusive": ("C28", with_("C28", (LOW_28, FLAT, {"coef": 0.1}))),
    "C30 replicated": ("C30", base("C30")),
    "C30 replicated: other clip ranges do not matter": ("C30", with_("C30", ("CLIP-2.8B", GOOD, {"clip": 0.2}))),
    "C30 contradicted: it is good": ("C30", with_("C30", ("CLIP-2.8B", GOOD, {"clip": 1e-4}))),
    "C30 contradicted: drift falls": (
        "C30",
        with_("C30", ("CLIP-2.8B", {"series": {"kl_prev": Curve(0.06, 0.02)}}, {"clip": 1e-4})),
    ),
    "C30 inconclusive": ("C30", with_("C30", ("CLIP-2.8B", FLAT, {"clip": 1e-4}))),
    "C31 replicated": ("C31", base("C31")),
    "C31 replicated: one that keeps up suffices": (
        "C31",
        with_("C31", *(("MIN-1B", OVER, {"coef": coef}) for coef in (-0.5, -0.1))),
    ),
    "C31 contradicted: MinEnt over-optimizes": ("C31", with_("C31", ("MIN-1B", OVER, {}))),
    "C31 contradicted: MinEnt is worse than KL": ("C31", with_("C31", ("MIN-1B", {"wins": (SFT_WINS, 0.6)}, {}))),
    "C31 contradicted: MaxEnt works": ("C31", with_("C31", (HIGH_1B, GOOD, {"coef": 0.1}))),
    "C31 inconclusive": ("C31", with_("C31", (HIGH_1B, FLAT, {"coef": 0.1}))),
    "C32 replicated": ("C32", base("C32")),
    "C32 contradicted": ("C32", with_("C32", ("MIN-2.8B", GOOD, {"coef": -0.1}))),
    "C32 inconclusive: no coefficient over-optimizes": ("C32", with_("C32", ("MIN-2.8B", FLAT, {"coef": -0.05}))),
    "C32 inconclusive: none is conservative": (
        "C32",
        with_("C32", *(("MIN-2.8B", OVER, {"coef": coef}) for coef in (-0.5, -0.1))),
    ),
    "C32 inconclusive: a collapse is neither": ("C32", with_("C32", ("MIN-2.8B", COLLAPSE, {"coef": -0.1}))),
    "C33 replicated": ("C33", base("C33")),
    "C33 replicated: by its second part alone": ("C33", with_("C33", ("KL-1B", {"wins": (SFT_WINS, 0.5)}, {}))),
    "C33 replicated: by its first part alone": ("C33", with_("C33", (LOW_28, GOOD, {}))),
    "C33 contradicted": (
        "C33",
        with_("C33", (LOW_28, GOOD, {"coef": 0.1}), ("KL-1B", {"wins": (SFT_WINS, 0.45)}, {})),
    ),
    "C33 inconclusive": (
        "C33",
        with_("C33", (LOW_28, GOOD, {"coef": 0.1}), ("KL-1B", {"wins": (SFT_WINS, 0.7)}, {})),
    ),
    "C33.b inconclusive": ("C33.b", with_("C33", (LOW_28, FLAT, {"coef": 0.1}))),
    "C33.b replicated: 0 is no MaxEnt": ("C33.b", with_("C33", (LOW_28, GOOD, {"coef": 0.0}))),
    "C33.a.2.8B contradicted": ("C33.a.2.8B", with_("C33", ("KL-2.8B", OVER, {}), (LOWEST, GOOD, {"coef": 0.1}))),
}


@pytest.mark.parametrize("seeds", [(100,), SEEDS], ids=["one seed", "five seeds"])
@pytest.mark.parametrize("case", CASES)
def test_verdicts(case: str, seeds: tuple[int, ...]) -> None:
    claim, plan = CASES[case]
    expected = case.removeprefix(f"{claim} ").partition(":")[0]
    assert verdict(claim, plan, seeds) == expected, found(claim, plan, seeds).reason


def test_completions_that_do_not_end_contradict_and_one_seed_has_no_spread() -> None:
    plan = with_("C12", (LOW_1B, {"ended": 0.7}, {"coef": 0.5}))
    assert verdict("C12", plan, SEEDS) == "contradicted"
    assert verdict("C12", plan, (100,)) == "inconclusive"


def test_a_collapse_is_said_to_be_no_opposite() -> None:
    plan = with_("C10", (HIGH_1B, COLLAPSE, {"coef": 0.5}))
    assert "broken training is no over-optimization" in found("C10.1B", plan).reason


def test_a_grid_that_is_too_small_is_not_tested() -> None:
    fewer = {key: spec for key, spec in base("C10").items() if key != (HIGH_1B, (("coef", 0.05),))}
    assert found("C10.1B", fewer).reason == f"grid too small: {HIGH_1B} has 2 values of coef other than 0, 3 are needed"
    no_zero = {key: spec for key, spec in base("C12").items() if key[1] != (("coef", 0.0),)}
    assert verdict("C12.a", no_zero) == "not tested"


def test_the_pilot_may_have_one_coefficient_and_says_so() -> None:
    pilot = {key: spec for key, spec in base("C10").items() if key[0] != HIGH_28 or key[1] == (("coef", 0.1),)}
    assert verdict("C10.2.8B", pilot) == "replicated"
    assert found("C10", pilot).qualifiers == (f"pilot: {HIGH_28} has few coefficients (1 other than 0)",)


ACCELERATING = {"kl_ref": Curve(0, 40, "late")}


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (ACCELERATING, "replicated"),
        ({**ACCELERATING, "neg_logp_tok": Curve(1, 0.5)}, "contradicted"),
        ({**ACCELERATING, "neg_logp_tok": Curve(1, 1)}, "inconclusive"),
    ],
)
def test_runs_that_nobody_judged_are_judged_by_their_dynamics(series: dict[str, Curve], expected: str) -> None:
    plan = with_("C20", (HIGH_69, {"judged": False, "series": series}, {}))
    assert verdict("C20", plan) == expected
    assert found("C20", plan).qualifiers == ("dynamics only: the runs were not judged",)


def test_dynamics_do_not_replace_a_label_that_a_gate_withholds() -> None:
    gated = with_("C20", (HIGH_69, {"gate": "no better than length", "series": ACCELERATING}, {}))
    assert verdict("C20", gated) == "not tested"
    assert verdict("C20", without(with_("C20", (HIGH_69, {"judged": False}, {})), HIGH_69, coef=0.1)) == "not tested"


def test_coefficients_that_no_size_shares_are_not_tested() -> None:
    def place(row: str, setting: tuple[tuple[str, float | str], ...]) -> tuple[tuple[str, float | str], ...]:
        return (("coef", 3 * float(dict(setting)["coef"])),) if row in (LOW_69, HIGH_69) else setting

    plan = {(row, place(row, setting)): spec for (row, setting), spec in base("C33").items()}
    assert "no coefficient was run at all three sizes" in found("C33.b", plan).reason

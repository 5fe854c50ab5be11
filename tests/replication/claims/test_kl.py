"""Verdicts of C21 to C27 on synthetic studies."""

from __future__ import annotations

import pytest
from claim_cases import LOWEST, ME, base, found, verdict
from claim_cases import changed_base as with_
from synthetic_study import FLAT, GOOD, OVER, SEEDS, Curve, Plan, Spec, changed, joined, members

LOW_1B, LOW_28, LOW_69 = (ME[size]["low"] for size in ME)
RELAXED = "KL-relaxed-1B"


def kl_ref(end: float, kind: str = "line", noise: float = 0.01) -> dict[str, dict[str, Curve]]:
    return {"series": {"kl_ref": Curve(0, end, kind, noise)}}


def kl_prev(start: float, end: float, kind: str = "line") -> dict[str, dict[str, Curve]]:
    return {"series": {"kl_prev": Curve(start, end, kind)}}


CASES: dict[str, tuple[str, Plan]] = {
    "C21 replicated": ("C21", base("C21")),
    "C21 contradicted: a weaker coefficient ends lower": ("C21", with_("C21", (RELAXED, kl_ref(2), {"coef": 0.01}))),
    "C21 contradicted: also at 2.8B": ("C21", with_("C21", ("KL-relaxed-2.8B", kl_ref(2), {"coef": 0.01}))),
    "C21 inconclusive: two end alike": (
        "C21",
        with_("C21", (RELAXED, kl_ref(8, "early"), {"coef": 0.01})),
    ),
    "C22 replicated": ("C22", base("C22")),
    "C22 contradicted: it rises": ("C22", with_("C22", ("KL-6.9B", kl_prev(0.02, 0.06), {}))),
    "C22 contradicted: it rises in a relaxed run": (
        "C22",
        with_("C22", (RELAXED, kl_prev(0.02, 0.06), {"coef": 0.03})),
    ),
    "C22 contradicted: it rises in one that over-optimizes": (
        "C22",
        with_("C22", (RELAXED, kl_prev(0.02, 0.06), {"coef": 0.003})),
    ),
    "C22 not tested: no relaxed run over-optimizes": (
        "C22",
        with_("C22", (RELAXED, GOOD, {}), ("KL-relaxed-2.8B", FLAT, {})),
    ),
    "C22.a replicated: a fall is bounded": ("C22.a", with_("C22", ("KL-1B", kl_prev(0.06, 0.02), {}))),
    "C23 replicated": ("C23", base("C23")),
    "C23 replicated: 0 is no MaxEnt": ("C23", with_("C23", (LOW_1B, kl_prev(0.06, 0.02), {"coef": 0.0}))),
    "C23 contradicted: it falls": ("C23", with_("C23", (LOW_1B, kl_prev(0.06, 0.02), {"coef": 0.1}))),
    "C23 inconclusive: it stays": ("C23", with_("C23", (LOW_28, kl_prev(0.02, 0.02), {"coef": 0.1}))),
    "C23 inconclusive: it rises too little": ("C23", with_("C23", (LOWEST, kl_prev(0.02, 0.025), {"coef": 0.1}))),
    "C23 not tested: no run is stable": ("C23", with_("C23", (LOW_1B, OVER, {}), (LOW_69, OVER, {}))),
    "C23.b inconclusive: the stable ones": ("C23.b", with_("C23", (LOW_69, kl_prev(0.02, 0.02), {"coef": 0.5}))),
    "C23.b replicated: others do not matter": ("C23.b", with_("C23", (LOW_28, kl_prev(0.06, 0.02), {}))),
    "C24 replicated": ("C24", base("C24")),
    "C25 replicated": ("C25", base("C25")),
    "C25 replicated: 0 is no MaxEnt": ("C25", with_("C25", (LOW_1B, kl_ref(4, "early"), {"coef": 0.0}))),
    "C25 contradicted: a collapse": ("C25", with_("C25", (LOW_69, OVER, {"coef": 0.1}))),
    "C26 replicated": ("C26", base("C26")),
    "C26 contradicted: 2.8B is good": ("C26", with_("C26", (LOW_28, GOOD, {}), (LOWEST, GOOD, {}))),
    "C26 inconclusive: 2.8B is flat": ("C26", with_("C26", (LOW_28, FLAT, {}), (LOWEST, FLAT, {}))),
    "C26 replicated: one pair suffices": (
        "C26",
        with_("C26", (LOW_28, GOOD, {}), *((LOWEST, GOOD, {"coef": coef}) for coef in (0.0, 0.05, 0.1))),
    ),
    "C27 replicated": ("C27", base("C27")),
    "C27 replicated: less KL than MaxEnt suffices": ("C27", with_("C27", ("KL-6.9B", kl_ref(6, "early"), {}))),
    "C27 replicated: less KL than 1B suffices": ("C27", with_("C27", (LOW_69, kl_ref(1), {"coef": 0.1}))),
    "C27 contradicted: over-optimized": ("C27", with_("C27", ("KL-6.9B", OVER, {}))),
    "C27 contradicted: more KL than all": ("C27", with_("C27", ("KL-6.9B", kl_ref(40, "early"), {}))),
    "C27 inconclusive": ("C27", with_("C27", ("KL-6.9B", FLAT, {}))),
    "C27.b inconclusive: the same KL": (
        "C27.b",
        with_("C27", ("KL-6.9B", kl_ref(4, "early"), {}), (LOW_69, kl_ref(4, "early"), {})),
    ),
}


@pytest.mark.parametrize("seeds", [(100,), SEEDS], ids=["one seed", "five seeds"])
@pytest.mark.parametrize("case", CASES)
def test_verdicts(case: str, seeds: tuple[int, ...]) -> None:
    claim, plan = CASES[case]
    expected = case.removeprefix(f"{claim} ").partition(":")[0]
    assert verdict(claim, plan, seeds) == expected, found(claim, plan, seeds).reason


NARROW = [(RELAXED, kl_ref(5 - 20 * coef, "early"), {"coef": coef}) for coef in (0.03, 0.01, 0.003)]

BY_SPREAD: dict[str, tuple[str, str, Plan]] = {
    "C21": ("KL range", "C21", with_("C21", *NARROW)),
    "C22": ("a hump", "C22", with_("C22", ("KL-2.8B", kl_prev(0.02, 0.12, "hump"), {}))),
    "C24: half": ("linear", "C24", with_("C24", ("KL-1B", kl_ref(4), {}))),
    "C24: slopes": ("accelerating", "C24", with_("C24", ("KL-6.9B", kl_ref(4, "late"), {}))),
    "C25: saturating": ("saturating", "C25", with_("C25", (LOW_1B, kl_ref(4, "early"), {"coef": 0.1}))),
    "C26": ("no KL is similar", "C26", with_("C26", (LOW_28, kl_ref(60), {}), (LOWEST, kl_ref(60), {}))),
}  # fmt: skip


@pytest.mark.parametrize("case", BY_SPREAD)
def test_a_missed_threshold_contradicts_by_the_spread_of_seeds_and_one_seed_has_none(case: str) -> None:
    _, claim, plan = BY_SPREAD[case]
    assert verdict(claim, plan) == "contradicted", found(claim, plan).reason
    assert verdict(claim, plan, (100,)) == "inconclusive"


@pytest.mark.parametrize(
    ("claim", "row", "change"),
    [
        ("C22", "KL-1B", kl_prev(0.02, 0.12, "hump")),
        ("C24", "KL-1B", kl_ref(4)),
        ("C25", LOW_1B, kl_ref(10, "early")),
    ],
)
def test_seeds_that_disagree_leave_it_inconclusive(claim: str, row: str, change: dict[str, dict[str, Curve]]) -> None:
    plan = base(claim)
    most, few = members(changed(plan, row, change), SEEDS[:3]), members(plan, SEEDS[3:])
    assert verdict(claim, joined(few, most)) == "inconclusive"


def test_consecutive_kl_relative_to_the_learning_rate() -> None:
    """A schedule that decays to a tenth: kl_prev falls, by the squared learning rate it rises."""
    decaying = {"series": {"lr": Curve(1e-3, 1e-4, noise=0.0), "kl_prev": Curve(0.05, 0.01)}}
    plan = base("C23")
    for row in {row for row, _ in plan}:
        plan = changed(plan, row, decaying)
    assert (verdict("C23.a", plan), verdict("C23.c", plan)) == ("contradicted", "replicated")
    assert verdict("C23", plan) == "contradicted"  # C23.c is reported beside it


def test_saturation_is_asked_over_the_learning_rates_summed_up() -> None:
    """A line over steps under a schedule that decays to 0: 40 % of its KL belong to the last third of learning."""
    decaying = {"series": {"lr": Curve(1e-3, 0, noise=0.0), "kl_ref": Curve(0, 10)}}
    plan = with_("C25", (LOW_1B, decaying, {}), (LOW_69, decaying, {}))
    assert verdict("C25", plan) == "replicated"
    saturating = with_("C24", ("KL-1B", {"series": {**decaying["series"], "kl_ref": Curve(0, 4, "early")}}, {}))
    assert verdict("C24", saturating) == "replicated"


def test_the_main_coefficient_of_kl_is_in_its_configuration() -> None:
    stronger = {"config": {"regularizers": [{"name": "kl", "coef": 0.005}]}}
    plan = with_("C21", ("KL-1B", stronger, {}))  # now between .01 and .003, but it ends lowest
    assert verdict("C21.1B", plan) == "contradicted"


def test_too_few_kl_coefficients() -> None:
    plan = {key: spec for key, spec in base("C21").items() if dict(key[1]).get("coef") not in (0.01, 0.003)}
    assert "grid too small" in found("C21.1B", plan).reason


def test_the_closest_pair_is_told() -> None:
    plan: Plan = with_("C26", (LOW_28, kl_ref(30), {}), (LOWEST, kl_ref(30), {}), (LOWEST, kl_ref(9), {"coef": 0.1}))
    closest = found("C26", plan)
    # 9 against the 10 of MaxEnt at 1B and 6.9B; KL-1B and KL-6.9B end at 4 and 2
    assert closest.truth.value == "replicated"
    assert closest.numbers[-1].value == pytest.approx(0.9, abs=0.02)
    assert isinstance(next(iter(plan.values())), Spec)

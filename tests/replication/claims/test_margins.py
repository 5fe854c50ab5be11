"""Verdicts of C43 on synthetic studies."""

from __future__ import annotations

import pytest
from claim_cases import base, found, verdict
from claim_cases import changed_base as with_
from synthetic_study import SEEDS, Curve, Plan, without_series


def margins(**series: Curve) -> Plan:
    return with_("C43", ("DPO-1B", {"series": series}, {}))


CASES: dict[str, Plan] = {
    "replicated": base("C43"),
    "contradicted: the mean is positive": margins(ref_margin=Curve(0.3, 0.3, noise=1.5)),
    "contradicted: there is a trend": margins(ref_margin=Curve(-0.1, -0.9, noise=0.02)),
    "inconclusive: the mean is about 0": margins(ref_margin=Curve(-0.001, -0.001, noise=400)),
}


@pytest.mark.parametrize("seeds", [(100,), SEEDS], ids=["one seed", "five seeds"])
@pytest.mark.parametrize("case", CASES)
def test_verdicts(case: str, seeds: tuple[int, ...]) -> None:
    assert verdict("C43", CASES[case], seeds) == case.partition(":")[0], found("C43", CASES[case], seeds).reason


@pytest.mark.parametrize(
    ("part", "plan"),
    [
        ("C43.b", margins(ref_margin_sd=Curve(0.2, 0.2))),
        ("C43.c", margins(ref_margin_iqr=Curve(1, 1))),
    ],
)
def test_wide_margins_contradict_by_the_spread_of_seeds(part: str, plan: Plan) -> None:
    assert verdict(part, plan) == "contradicted"
    assert verdict(part, plan, (100,)) == "inconclusive"


def test_without_the_spread_of_pairs_the_band_is_not_tested_and_the_size_of_the_mean_is_estimated() -> None:
    plan = without_series(without_series(base("C43"), "DPO-1B", "ref_margin_sd"), "DPO-1B", "ref_margin_iqr")
    assert verdict("C43.c", plan) == verdict("C43", plan) == "not tested"
    part = found("C43.b", plan)
    assert part.truth.value == "replicated"
    assert part.qualifiers == ("the spread of single pairs is estimated from that of batch means",)
    # batch means of -.3 with a standard deviation of .45 over 64 pairs: .3 / (.45 * 8)
    assert part.numbers[0].value == pytest.approx(0.3 / 3.6, rel=0.2)


def test_the_band_is_each_seed_s_own() -> None:
    """5 to 95 % of normal batch means of sd .45: 2 * 1.645 * .45 = 1.48, by quartiles 4 apart."""
    assert found("C43.c", base("C43")).numbers[0].value == pytest.approx(1.48 / 4, rel=0.12)


def test_beta_times_the_mean_stands_beside_it() -> None:
    plan = with_("C43", ("DPO-1B", {"config": {"batch_size": 64, "loss": {"name": "dpo", "beta": 0.05}}}, {}))
    mean, scaled = found("C43.a", plan).numbers
    assert scaled.value == pytest.approx(0.05 * mean.value)

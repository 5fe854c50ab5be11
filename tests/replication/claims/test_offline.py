"""Verdicts of C34 to C42 and C44 on synthetic studies."""

from __future__ import annotations

import pytest
from claim_cases import FAST, LOWEST, ME, SLOW, base, found, verdict
from claim_cases import changed_base as with_
from synthetic_study import (
    FLAT,
    GOOD,
    OVER,
    OVER_PEAK,
    SEEDS,
    SFT_WINS,
    Curve,
    Plan,
    changed,
    joined,
    members,
)

STILL = {"series": {"rewards_acc": Curve(0.6, 0.6), "rewards_margin": Curve(0.5, 0.5)}}
FALLING = {"series": {"rewards_acc": Curve(0.7, 0.5), "rewards_margin": Curve(0.5, 0.1)}}
GAMMAS = (0.0, 0.25, 0.5, 1.0, 2.0)


def wins(*rates: float) -> list[tuple[str, dict, dict]]:  # type: ignore[type-arg]
    return [(FAST, {"wins": (SFT_WINS, rate)}, {"gamma": g}) for g, rate in zip(GAMMAS, rates, strict=True)]


def falls_to(*ends: float) -> list[tuple[str, dict, dict]]:  # type: ignore[type-arg]
    return [
        (FAST, {"series": {"logps_chosen_mean": Curve(-0.7, end)}}, {"gamma": g})
        for g, end in zip(GAMMAS, ends, strict=True)
    ]


def after_epochs(first: float, last: float) -> dict[str, tuple[float, ...]]:
    """Win rates after epochs 1 to 4 on a line."""
    return {"wins": (SFT_WINS, first, first + (last - first) / 3, first + 2 * (last - first) / 3, last)}


def fall(by: float) -> dict[str, dict[str, Curve]]:
    return {"series": {"logps_chosen_mean": Curve(-0.7, -0.7 - by)}}


CASES: dict[str, tuple[str, Plan]] = {
    "C34 replicated": ("C34", base("C34")),
    "C34 replicated: back from a peak": ("C34", with_("C34", (FAST, OVER_PEAK, {"gamma": 0.25}))),
    "C34 replicated: one of its rewards suffices": (
        "C34",
        with_("C34", (FAST, {"series": {"rewards_acc": Curve(0.6, 0.6)}}, {"gamma": 0.5})),
    ),
    "C34 replicated: the reward model's score does not matter": ("C34", with_("C34", (FAST, {"proxy": -1.0}, {}))),
    "C34 contradicted: one beats SFT": ("C34", with_("C34", (FAST, GOOD, {"gamma": 0.0}))),
    "C34 contradicted: its own rewards fall": ("C34", with_("C34", (FAST, FALLING, {"gamma": 1.0}))),
    "C34 inconclusive: its own rewards stay": ("C34", with_("C34", (FAST, STILL, {"gamma": 1.0}))),
    "C34 inconclusive: one is flat": ("C34", with_("C34", (FAST, FLAT, {"gamma": 1.0}))),
    "C35 replicated": ("C35", base("C35")),
    "C35 inconclusive: no order of win rates": ("C35", with_("C35", *wins(0.1, 0.2, 0.3, 0.2, 0.1))),
    "C36 replicated": ("C36", base("C36")),
    "C36 replicated: worse than SFT": ("C36", with_("C36", ("HH-DPO", OVER, {}))),
    "C36 contradicted": ("C36", with_("C36", ("HH-DPO", GOOD, {}))),
    "C37 replicated": ("C37", base("C37")),
    "C37 replicated: chiPO loses more": ("C37", with_("C37", ("CHI-1B", after_epochs(0.7, 0.2), {}))),
    "C37 replicated: what happens before epoch 1 does not matter": (
        "C37",
        with_("C37", ("CHI-1B", after_epochs(0.5, 0.2), {}), ("CHI-DPO-1B", after_epochs(0.9, 0.6), {})),
    ),
    "C37 contradicted: chiPO keeps its win rate": (
        "C37",
        with_("C37", ("CHI-1B", after_epochs(0.7, 0.7), {"beta": 0.1})),
    ),
    "C37 not tested: no evaluation after an epoch": (
        "C37",
        with_("C37", ("CHI-1B", {"config": {"epochs": 3}}, {"beta": 0.1})),
    ),
    "C37 not tested: one epoch": ("C37", with_("C37", ("CHI-DPO-1B", {"config": {"epochs": 1}}, {"beta": 0.1}))),
    "C38 replicated": ("C38", base("C38")),
    "C38 contradicted": ("C38", with_("C38", (FAST, fall(0.1), {}), (SLOW, fall(1.0), {}), ("DPO-1B", fall(1.0), {}))),
    "C38 inconclusive": ("C38", with_("C38", (FAST, fall(0.5), {}), (SLOW, fall(0.5), {}), ("DPO-1B", fall(0.5), {}))),
    "C38 not tested: none is good": ("C38", with_("C38", (SLOW, FLAT, {}), ("DPO-1B", FLAT, {}))),
    "C39 replicated": ("C39", base("C39")),
    "C39 replicated: one good margin suffices": (
        "C39",
        with_("C39", *((SLOW, FLAT, {"gamma": gamma}) for gamma in (0.0, 0.25, 1.0))),
    ),
    "C39 contradicted: one falls from its peak": ("C39", with_("C39", (SLOW, OVER_PEAK, {"gamma": 0.25}))),
    "C39 contradicted: all over-optimize": ("C39", with_("C39", (SLOW, OVER, {}))),
    "C39 inconclusive": ("C39", with_("C39", (SLOW, FLAT, {}))),
    "C40 replicated": ("C40", base("C40")),
    "C40 inconclusive": ("C40", with_("C40", (SLOW, {"wins": (SFT_WINS, 0.7)}, {}))),
    "C40 inconclusive: 0 is best": ("C40", with_("C40", (SLOW, {"wins": (SFT_WINS, 1.0)}, {"gamma": 0.0}))),
    "C41 replicated": ("C41", base("C41")),
    "C41 contradicted: DPO is better": ("C41", with_("C41", ("DPO-1B", {"wins": (SFT_WINS, 0.95)}, {}))),
    "C41 contradicted: SimPO is better": ("C41", with_("C41", (SLOW, {"wins": (SFT_WINS, 0.95)}, {"gamma": 0.0}))),
    "C41 replicated: other margins do not matter": ("C41", with_("C41", (SLOW, OVER, {"gamma": 0.5}))),
    "C42 replicated": ("C42", base("C42")),
    "C42 contradicted": ("C42", with_("C42", ("DPO-1B", OVER, {}))),
    "C42 inconclusive": ("C42", with_("C42", ("DPO-1B", FLAT, {}))),
    "C44 replicated": ("C44", base("C44")),
    "C44 replicated: in the weaker form": ("C44", with_("C44", ("KL-1B", OVER, {}))),
    "C44 contradicted: SimPO fails": ("C44", with_("C44", (SLOW, OVER, {}))),
    "C44 contradicted: MaxEnt beats KL": (
        "C44",
        with_("C44", *((row, OVER, {}) for row in ("KL-1B", "KL-2.8B")), (LOWEST, GOOD, {})),
    ),
    "C44 inconclusive": (
        "C44",
        with_(
            "C44",
            *((row, {"wins": (SFT_WINS, 0.7)}, {}) for row in ("KL-1B", "KL-2.8B")),
            (ME["2.8B"]["low"], GOOD, {}),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("seeds", [(100,), SEEDS], ids=["one seed", "five seeds"])
@pytest.mark.parametrize("case", CASES)
def test_verdicts(case: str, seeds: tuple[int, ...]) -> None:
    claim, plan = CASES[case]
    expected = case.removeprefix(f"{claim} ").partition(":")[0]
    assert verdict(claim, plan, seeds) == expected, found(claim, plan, seeds).reason


@pytest.mark.parametrize("changes", [wins(0.05, 0.1, 0.15, 0.2, 0.25), falls_to(-2.0, -1.8, -1.6, -1.4, -1.2)])
def test_the_opposite_order_contradicts_by_the_spread_of_seeds(changes: list) -> None:  # type: ignore[type-arg]
    plan = with_("C35", *changes)
    assert verdict("C35", plan) == "contradicted"
    assert verdict("C35", plan, (100,)) == "inconclusive"


def test_a_weak_order_of_the_right_direction_is_no_opposite() -> None:
    """tau is -.4 under every seed: 3 of 10 pairs rise, 7 fall."""
    plan = with_("C35", *wins(0.2, 0.25, 0.1, 0.15, 0.12))
    part = found("C35.a", plan)
    assert part.truth.value == "inconclusive"
    assert part.numbers[0].value == pytest.approx(-0.4)
    assert part.numbers[0].margin == pytest.approx(-0.2)


def test_fewer_than_five_margins_are_too_few() -> None:
    plan = {key: spec for key, spec in base("C35").items() if dict(key[1])["gamma"] != 2.0}
    assert "grid too small" in found("C35.a", plan).reason


def test_the_spread_over_seeds_of_the_second_task_is_reported() -> None:
    plan = base("C36")
    higher = changed(plan, "HH-DPO", {"wins": (SFT_WINS, 0.5)})
    part = found("C36", joined(members(plan, (0,)), members(higher, (1,))))
    assert part.numbers[-1].value == pytest.approx(0.1 / 2**0.5)  # of 0 and .1
    assert "a second miniature task stands for HH-RLHF" in part.qualifiers


def test_losses_over_epochs_are_compared_at_the_same_beta() -> None:
    plan = with_("C37", ("CHI-1B", after_epochs(0.7, 0.5), {"beta": 0.05}))
    part = found("C37", plan)
    # at beta .05 chiPO loses .2 and DPO .3; at beta .1 both lose .3
    values = [number.value for number in part.numbers]
    assert values == [pytest.approx(x) for x in (0.1, 0.2, 0.3, 0.0, 0.3, 0.3)]
    other = {key: spec for key, spec in base("C37").items() if key[0] == "CHI-1B" or dict(key[1])["beta"] == 0.1}
    assert verdict("C37", other) == "not tested"


def test_what_dpo_does_not_lose_need_not_be_prevented() -> None:
    plan = with_("C37", ("CHI-1B", after_epochs(0.7, 0.7), {}), ("CHI-DPO-1B", after_epochs(0.7, 0.7), {"beta": 0.1}))
    assert verdict("C37", plan) == "contradicted"  # at beta .05
    assert found("C37", plan).qualifiers == ("at beta 0.1 DPO loses nothing to prevent",)


def test_the_weaker_form_is_said() -> None:
    assert found("C44", base("C44")).qualifiers == ()
    weaker = found("C44", with_("C44", ("KL-1B", OVER, {})))
    assert weaker.qualifiers == ("weaker form: MaxEnt fails at 2.8B, not at 1B",)

"""All statements hold, and each part fails when a formula that it rests on is bent."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isfunction
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from overopt.theory import closed_forms
from overopt.theory import objectives as program
from overopt.theory.checks import Check
from overopt.theory.statements import STATEMENTS, verify

exact, objectives = (SimpleNamespace(**vars(module)) for module in (closed_forms, program))
"""The formulas as they are, also while one of them is bent."""
MAXENT = "T1.a T1.b T1.c T2 T7.c T11.d T16.a T16.c"
"""What compares the optimum with anything of a fixed scale."""


@pytest.fixture(scope="module")
def checks() -> list[Check]:
    return verify()


def test_every_statement_holds(checks: list[Check]) -> None:
    assert [check.id for check in checks if not check.holds] == []


def test_the_ids_are_t1_to_t16_in_order_with_parts_in_order(checks: list[Check]) -> None:
    numbers = [int(check.id[1:].split(".")[0]) for check in checks]
    assert sorted(set(numbers)) == list(range(1, 17)) and numbers == sorted(numbers)
    assert len({check.id for check in checks}) == len(checks)
    assert [f.__name__ for f in STATEMENTS] == [f"t{n}" for n in range(1, 17)]


def test_identities_hold_to_1e_12_and_only_what_is_approximate_is_given_more(checks: list[Check]) -> None:
    tolerances = {check.id: check.tolerance for check in checks if check.tolerance != 1e-12}
    differences = dict.fromkeys(("T8.c", "T10.e", "T12.e", "T13.b", "T14.a", "T14.b"), 0.0)
    assert tolerances == differences | {"T9.c": 1e-6, "T12.d": 1e-3}


def test_the_same_numbers_every_time(checks: list[Check]) -> None:
    assert [check.residual for check in verify()] == [check.residual for check in checks]


BENT: dict[str, tuple[str, Callable[..., Any], str]] = {
    "temperature of the optimum": (
        "maxent_optimum", lambda r, a: exact.maxent_optimum(r, 1.001 * a), f"{MAXENT} T3 T4.a T4.e",
    ),
    "an optimum that a shift moves": (
        "maxent_optimum", lambda r, a: exact.maxent_optimum(r + 1e-3 * r**2, a), f"{MAXENT} T3 T4.a T4.e T6",
    ),
    "an optimum that sums to more than 1": (
        "maxent_optimum", lambda r, a: exact.maxent_optimum(r, a) + 1e-3, MAXENT,
    ),
    "an optimum that is no number": (
        "maxent_optimum", lambda r, a: r * torch.nan, f"{MAXENT} T3 T4.a T4.e T6",
    ),
    "partition function": ("log_partition", lambda r, a: exact.log_partition(r, a) + 1e-3, "T1.a T2"),
    "KL optimum without its reference": (
        "kl_optimum", lambda r, ref, b: exact.maxent_optimum(r, b), "T16.b T16.c",
    ),
    "temperature of the KL optimum": (
        "kl_optimum", lambda r, ref, b: exact.kl_optimum(r, ref, 1.001 * b), "T16.a T16.b T16.c",
    ),
    "T12 in T11's place": ("length_normalized_maximizer", exact.trained_fixed_point, "T11.b T11.c T12.e"),
    "T14 in T11's place": ("length_normalized_maximizer", exact.naive_substitution, "T11.b T11.c T14.a"),
    "temperature of T11": (
        "length_normalized_maximizer",
        lambda r, n, b: exact.length_normalized_maximizer(r, n, 1.001 * b),
        "T11.b T11.c T11.d T12.f T14.c",
    ),
    "lambda of T11": (
        "length_normalized_maximizer",
        lambda r, n, b: exact.length_normalized_maximizer(r, n, b) + 1e-3 * n,
        "T11.a T11.b T11.d T12.f T14.c",
    ),
    "T11 in T12's place": ("trained_fixed_point", exact.length_normalized_maximizer, "T12.b T12.c T12.d T14.b"),
    "T14 in T12's place": ("trained_fixed_point", exact.naive_substitution, "T12.b T12.c T12.d T14.b"),
    "temperature of T12": (
        "trained_fixed_point",
        lambda r, n, b: exact.trained_fixed_point(r, n, 1.001 * b),
        "T12.b T12.c T12.f T14.c",
    ),
    "c of T12": (
        "trained_fixed_point",
        lambda r, n, b: exact.trained_fixed_point(r, n, b) + 1e-3 * n,
        "T12.a T12.c T12.d T12.f T14.c",
    ),
    "T11 in T14's place": ("naive_substitution", exact.length_normalized_maximizer, "T14.a"),
    "T12 in T14's place": ("naive_substitution", exact.trained_fixed_point, "T14.b"),
    "temperature of T14": (
        "naive_substitution", lambda r, n, b: exact.naive_substitution(r, n, 1.001 * b), "T14.c",
    ),
    "slope of Bradley-Terry": ("bradley_terry", lambda x, y: torch.sigmoid(1.001 * (x - y)), "T3 T4.c"),
    "Bradley-Terry that a shift moves": (
        "bradley_terry", lambda x, y: torch.sigmoid(x - y + 1e-3 * x**2), "T3 T4.c T5.a",
    ),
    "slope of Plackett-Luce": ("plackett_luce", lambda r: exact.plackett_luce(1.001 * r), "T4.c T4.d T4.e"),
    "Plackett-Luce that a shift moves": (
        "plackett_luce", lambda r: exact.plackett_luce(r + 1e-3 * r**2), "T4.a T4.c T4.d T4.e T5.b",
    ),
    "Plackett-Luce, worst first": ("plackett_luce", lambda r: exact.plackett_luce(r.flip(-1)), "T4.c T4.d T4.e"),
    "Plackett-Luce, the worst is taken out first": (
        "plackett_luce", lambda r: exact.plackett_luce(-r.flip(-1)), "T4.d T4.e",
    ),
    "Plackett-Luce with one factor more": (
        "plackett_luce", lambda r: 1.001 * exact.plackett_luce(r), "T4.b T4.c T4.d T4.e",
    ),
    "projection beside the form": ("projection", lambda r, a: exact.projection(r, a) + 1e-3, "T7.b T7.c"),
    "projection that cancels the shift": ("projection", lambda r, a: exact.projection(r, a) - 0.7, "T7.b T7.c T8.c"),
    "no projection": ("projection", lambda r, a: r, "T7.b T7.c T8.b"),
    "projection out of the class": (
        "projection", lambda r, a: 1.001 * exact.projection(r, a), "T7.a T7.b T7.c T8.a",
    ),
    "slope of C.2's loss": (
        "maxent_pair_loss", lambda w, x, a: exact.maxent_pair_loss(w, x, 1.001 * a), "T10.a T10.b T10.c T10.d",
    ),
    "a constant in C.2's loss": (
        "maxent_pair_loss", lambda w, x, a: exact.maxent_pair_loss(w, x, a) + 1e-3, "T10.a T10.c T10.d",
    ),
    "sign of gamma": (
        "simpo_gradient", lambda w, x, m, n, a, g: exact.simpo_gradient(w, x, m, n, a, -g), "T9.b T9.c",
    ),
    "lengths swapped": (
        "simpo_gradient", lambda w, x, m, n, a, g: exact.simpo_gradient(w, x, n, m, a, g), "T9.b T9.c",
    ),
    "sign of u": (
        "simpo_gradient", lambda w, x, m, n, a, g: exact.simpo_gradient(x, w, m, n, a, g), "T9.a T9.b T9.c",
    ),
    "sign of the correction": ("length_correction", lambda n, b: b / n, "T13.c"),
    "plain mean": ("leave_one_out", lambda r: r - r.mean(-1, keepdim=True), "T15.c"),
    "SimPO without its margin": (
        "simpo_loss", lambda w, x, m, n, a, g: objectives.simpo_loss(w, x, m, n, a, 0.0), "T9.b T9.c",
    ),
    "SimPO without its lengths": (
        "simpo_loss", lambda w, x, m, n, a, g: objectives.simpo_loss(w, x, m / m, n / n, a, g), "T9.b T9.c",
    ),
    "SimPO's alpha": (
        "simpo_loss", lambda w, x, m, n, a, g: objectives.simpo_loss(w, x, m, n, 1.001 * a, g), "T9.a T9.b T9.c",
    ),
    "SimPO's reward of sums": (
        "simpo_reward", lambda w, x, m, n, a: objectives.simpo_reward(w, x, m / m, n / n, a), "T12.b",
    ),
    "DPO without its reference": (
        "dpo_loss", lambda w, x, v, k, b: objectives.dpo_loss(w, x, 0 * v, 0 * k, b), "T10.d T10.e",
    ),
    "DPO's references swapped": ("dpo_loss", lambda w, x, v, k, b: objectives.dpo_loss(w, x, k, v, b), "T10.d"),
    "DPO's beta": (
        "dpo_loss", lambda w, x, v, k, b: objectives.dpo_loss(w, x, v, k, 1.001 * b), "T10.a T10.b T10.c T10.d",
    ),
    "slope of the ranking loss": (
        "ranking_loss", lambda p, a: objectives.ranking_loss(p, 1.001 * a), "T4.e",
    ),
    "RLOO about the mean": ("rloo", lambda r: r - r.mean(-1, keepdim=True), "T15.c T15.d T15.e"),
    "RLOO without a baseline": ("rloo", lambda r: r, "T15.a T15.b T15.c T15.d"),
    "RLOO of another reward": ("rloo", lambda r: objectives.rloo(r * r.abs()), "T15.b T15.c T15.d T15.e"),
    "Eq. 7 in Eq. 6's place": ("entropy_sum", objectives.entropy_length_normalized, "T13.a"),
    "Eq. 6 in Eq. 7's place": (
        "entropy_length_normalized", objectives.entropy_sum, "T12.c T12.d T12.e T13.b T13.c T13.e",
    ),
    "Eq. 7's coefficient": (
        "entropy_length_normalized",
        lambda p, n, c: objectives.entropy_length_normalized(p, n, 1.01 * c),
        "T12.c T12.d T13.c T13.e",
    ),
    "Eq. 7 with its correction": (
        "entropy_length_normalized",
        lambda p, n, c: objectives.entropy_length_normalized(p, n, c) - c / n,
        "T12.c T12.d T12.e T13.b T13.c",
    ),
    "no correction": ("entropy_with_correction", objectives.entropy_length_normalized, "T13.d"),
    "Eq. 7 with TRL's sentinel": (
        "entropy_length_normalized",
        lambda p, n, c: objectives.entropy_length_normalized(p, n, c) - c * (n.max() - n) / n,
        "T12.c T12.d T13.c",
    ),
}  # fmt: skip
"""What is bent -> the form, what stands in its place, and the parts that fail, all of them and no other."""


@pytest.mark.parametrize("name", BENT)
def test_what_rests_on_a_bent_form_fails(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    form, replacement, expected = BENT[name]
    monkeypatch.setattr(closed_forms if hasattr(exact, form) else program, form, replacement)
    failed = [check.id for check in verify() if not check.holds]
    assert set(failed) == set(expected.split())


def test_every_form_is_bent_and_every_part_fails_somewhere(checks: list[Check]) -> None:
    public = {
        name
        for module in (closed_forms, program)
        for name, form in vars(module).items()
        if isfunction(form) and form.__module__ == module.__name__ and not name.startswith("_")
    }
    assert {form for form, _, _ in BENT.values()} == public - {"as_tokens"}
    assert {part for _, _, parts in BENT.values() for part in parts.split()} == {check.id for check in checks}

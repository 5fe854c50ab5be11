"""T1, T2, T6, T7, T8, T16: the optimum of maximum-entropy RL, and the rewards that share it."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from overopt.theory import closed_forms as exact
from overopt.theory.candidates import random_policies, random_sets
from overopt.theory.checks import Check, at_most, differ, equal

POLICIES = 10_000
"""How many random policies each claimed optimum is compared with, over all candidate sets."""

SHIFT = 0.7
"""f(x), added to every reward of a prompt."""


def kl(logp: Tensor, other: Tensor) -> Tensor:
    """KL(pi || mu) = sum_y pi (log pi - log mu)."""
    return (logp.exp() * (logp - other)).sum(-1)


def entropy_objective(logp: Tensor, reward_N: Tensor, alpha: float | Tensor) -> Tensor:
    """J(pi) = E[r - alpha log pi] = E[r] + alpha H(pi) (Eq. 2); with alpha = beta/|y| that of Eq. 7's reward."""
    return (logp.exp() * (reward_N - alpha * logp)).sum(-1)


def t1() -> Iterator[Check]:
    """Eq. 3 is the only maximizer of Eq. 2."""
    values, excesses, distances = [], [], []
    sets = random_sets()
    for c in sets:
        alpha, best = c.temperature, exact.maxent_optimum(c.reward_N, c.temperature)
        others = random_policies(best, POLICIES // len(sets) + 1)
        value = entropy_objective(best, c.reward_N, alpha)
        other_values = entropy_objective(others, c.reward_N, alpha)
        values.append(value - alpha * exact.log_partition(c.reward_N, alpha))
        excesses.append(other_values - value)
        distances.append(value - other_values - alpha * kl(others, best))
    yield equal("T1.a", "pi* = exp(r/alpha)/Z has J(pi*) = alpha log Z, where J = E[r] + alpha H", values)
    yield at_most("T1.b", f"J(pi) <= J(pi*) for {POLICIES} random policies", excesses)
    yield equal("T1.c", "J(pi*) - J(pi) = alpha KL(pi || pi*) for each of them", distances)


def t2() -> Iterator[Check]:
    """Check Eq. 4 and 10 of the paper."""
    errors = [
        c.temperature
        * (exact.maxent_optimum(c.reward_N, c.temperature) + exact.log_partition(c.reward_N, c.temperature))
        - c.reward_N
        for c in random_sets()
    ]
    yield equal("T2", "r = alpha log pi* + alpha log Z", errors)


def t6() -> Iterator[Check]:
    """Check Lemma 2 of the paper."""
    errors = [
        exact.maxent_optimum(c.reward_N + SHIFT, c.temperature) - exact.maxent_optimum(c.reward_N, c.temperature)
        for c in random_sets()
    ]
    yield equal("T6", "r and r + f(x) have the same pi*", errors)


def t7() -> Iterator[Check]:
    """Check Theorem 1 of the paper."""
    offsets, masses, rewards = [], [], []
    for c in random_sets():
        projected = exact.projection(c.reward_N, c.temperature)
        offset = projected - c.reward_N
        offsets.append(offset - offset.mean())
        masses.append((projected / c.temperature).exp().sum() - 1)
        rewards.append(projected - c.temperature * exact.maxent_optimum(c.reward_N, c.temperature))
    yield equal("T7.a", "f(r) = r - alpha log Z lies in the class of r: f(r) - r does not depend on y", offsets)
    yield equal("T7.b", "f(r) has the form alpha log pi: exp(f(r)/alpha) sums to 1", masses)
    yield equal("T7.c", "that pi is the optimum of r: f(r) = alpha log pi*", rewards)


def t8() -> Iterator[Check]:
    """Check Proposition 1 of the paper."""
    again, shifted = [], []
    for c in random_sets():
        projected = exact.projection(c.reward_N, c.temperature)
        again.append(exact.projection(projected, c.temperature) - projected)
        shifted.append(exact.projection(c.reward_N + SHIFT, c.temperature) - projected)
    yield equal("T8.a", "f(f(r)) = f(r)", again)
    yield equal("T8.b", "f(r + c) = f(r): a class has one member of the form alpha log pi", shifted)
    first = random_sets()[0]
    mass = ((exact.projection(first.reward_N, first.temperature) + SHIFT) / first.temperature).exp().sum()
    yield differ("T8.c", "f(r) + c has that form no longer: exp((f(r) + c)/alpha) does not sum to 1", mass - 1, 0.5)


def t16() -> Iterator[Check]:
    """The effect of a reference: none if it is uniform over the candidates, else it becomes part of the reward."""
    uniform, distances, shaped = [], [], []
    for c in random_sets():
        beta = c.temperature
        flat = (0.0 * c.reward_N).log_softmax(-1)
        best = exact.kl_optimum(c.reward_N, c.ref_logp_N, beta)
        others = random_policies(best, 100)
        uniform.append(exact.kl_optimum(c.reward_N, flat, beta) - exact.maxent_optimum(c.reward_N, beta))
        lost = _kl_objective(best, c.reward_N, c.ref_logp_N, beta) - _kl_objective(
            others, c.reward_N, c.ref_logp_N, beta
        )
        distances.append(lost - beta * kl(others, best))
        shaped.append(best - exact.maxent_optimum(c.reward_N + beta * c.ref_logp_N, beta))
    yield equal("T16.a", "with a uniform reference the KL optimum is the MaxEnt optimum", uniform)
    yield equal("T16.b", "J_KL(pi*) - J_KL(pi) = beta KL(pi || pi*), any reference: pi* is the KL optimum", distances)
    yield equal("T16.c", "the KL optimum of r is the MaxEnt optimum of r + beta log pi_ref", shaped)


def _kl_objective(logp: Tensor, reward_N: Tensor, ref_logp_N: Tensor, beta: float) -> Tensor:
    return (logp.exp() * reward_N).sum(-1) - beta * kl(logp, ref_logp_N)

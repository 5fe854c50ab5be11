"""T11 to T14: the derivation with the entropy divided by the length, as in Eq. 7."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from overopt.theory import closed_forms as exact
from overopt.theory import objectives
from overopt.theory.candidates import Candidates, easy_bandit, random_policies, random_sets, worked_example
from overopt.theory.checks import Check, at_most, differ, equal
from overopt.theory.optima import POLICIES, entropy_objective

EQUAL_LENGTH = 3.0
"""The length of every candidate where lengths must be equal, in tokens."""

UPDATES, RATE = 300, 1.0
"""Number of updates and learning rate of the exact policy gradient in T12."""


def of_equal_length(c: Candidates) -> Candidates:
    return replace(c, length_N=torch.full_like(c.length_N, EQUAL_LENGTH))


def t11() -> Iterator[Check]:
    """The maximizer of Eq. 7's objective."""
    masses, excesses, identities, equal_lengths = [], [], [], []
    sets = random_sets()
    for c in sets:
        beta, best = c.temperature, c.solve(exact.length_normalized_maximizer)
        value = entropy_objective(best, c.reward_N, beta / c.length_N)
        others = random_policies(best, POLICIES // len(sets) + 1)
        masses.append(best.exp().sum() - 1)
        excesses.append(entropy_objective(others, c.reward_N, beta / c.length_N) - value)
        first, second = c.pairs
        implicit = beta / c.length_N * best + beta / c.length_N
        identities.append(c.reward_N[first] - c.reward_N[second] - (implicit[first] - implicit[second]))
        same = of_equal_length(c)
        maximizer = same.solve(exact.length_normalized_maximizer)
        equal_lengths.append(maximizer - exact.maxent_optimum(c.reward_N, beta / EQUAL_LENGTH))
    yield equal("T11.a", "T11's pi, log pi = |y|(r - lambda)/beta - 1, sums to 1", masses)
    yield at_most(
        "T11.b", f"T11's pi maximizes E[r - (beta/|y|) log pi]: none of {POLICIES} random policies is better", excesses
    )
    yield equal(
        "T11.c",
        "at T11's pi r_1 - r_2 = SimPO's implicit rewards at gamma 0, plus beta (1/|y_1| - 1/|y_2|)",
        identities,
    )
    yield equal("T11.d", "with equal lengths T11's pi is Eq. 3 at alpha = beta/|y|", equal_lengths)


def t12() -> Iterator[Check]:
    """The fixed point of training on Eq. 7's detached reward."""
    masses, identities, gradients, equal_lengths = [], [], [], []
    for c in random_sets():
        point = c.solve(exact.trained_fixed_point)
        masses.append(point.exp().sum() - 1)
        identities.append(_simpo_identity(point, c))
        gradients.append(trained_gradient(point, c))
        same = of_equal_length(c)
        equal_lengths.append(same.solve(exact.trained_fixed_point) - same.solve(exact.length_normalized_maximizer))
    bandits = [worked_example(), easy_bandit()]
    points = [c.solve(exact.trained_fixed_point).exp() for c in bandits]
    trained = [policy_gradient(c).exp() for c in bandits]
    c = bandits[0]
    maximizer = c.solve(exact.length_normalized_maximizer)
    yield equal("T12.a", "T12's pi, log pi = |y|(r - c)/beta, sums to 1", masses)
    yield equal("T12.b", "at T12's pi r_1 - r_2 = SimPO's implicit rewards at gamma 0, and nothing more", identities)
    yield equal("T12.c", "at T12's pi the exact gradient on Eq. 7's detached reward is zero", gradients)
    yield equal(
        "T12.d",
        "exact policy gradient on two bandits ends at T12's pi (in probability)",
        [a - b for a, b in zip(trained, points, strict=True)],
        1e-3,
    )
    yield differ(
        "T12.e",
        "exact policy gradient does not end at T11's pi where lengths differ",
        trained[0] - maximizer.exp(),
        0.1,
    )
    yield equal("T12.f", "with equal lengths T11's and T12's pi are the same", equal_lengths)


def _simpo_identity(logp_N: Tensor, c: Candidates) -> Tensor:
    """r_1 - r_2 less the difference of SimPO's implicit rewards."""
    first, second = c.of_pairs(c.reward_N)
    chosen, rejected = objectives.simpo_reward(*c.of_pairs(logp_N), *c.of_pairs(c.length_N), c.temperature)
    return first - second - (chosen - rejected)


def trained_gradient(logits_N: Tensor, c: Candidates) -> Tensor:
    """E[R grad log pi], R = r + the program's detached bonus, of a softmax policy: pi (R - E[R])."""
    logp_N = logits_N.log_softmax(-1)
    shaped_N = c.reward_N + objectives.entropy_length_normalized(logp_N, c.length_N, c.temperature)
    return logp_N.exp() * (shaped_N - (logp_N.exp() * shaped_N).sum())


def policy_gradient(c: Candidates) -> Tensor:
    """Log-probabilities after exact policy gradient from a policy that prefers the last candidate 9 to 1."""
    logits_N = torch.zeros_like(c.reward_N)
    logits_N[-1] = 2.2
    for _ in range(UPDATES):
        logits_N = logits_N + RATE * trained_gradient(logits_N, c)
    return logits_N.log_softmax(-1)


def t13() -> Iterator[Check]:
    """Whether the gradient of a detached reward is the gradient of the objective that it is the reward of."""
    sums, corrected, built_in, equal_lengths = [], [], [], []
    for c in random_sets():
        sums.append(detachment_bias(c, objectives.entropy_sum(c.ref_logp_N, c.length_N, c.temperature), 1.0))
        corrected.append(_bias_of_eq7(c, exact.length_correction(c.length_N, c.temperature)))
        whole = objectives.entropy_with_correction(c.ref_logp_N, c.length_N, c.temperature)
        built_in.append(detachment_bias(c, whole, c.length_N))
        equal_lengths.append(_bias_of_eq7(of_equal_length(c)))
    yield equal("T13.a", "the gradient on Eq. 6's detached reward is that of E[r] + alpha H", sums)
    bias = _bias_of_eq7(worked_example())
    yield differ("T13.b", "the gradient on Eq. 7's detached reward is not that of E[r - (beta/|y|) log pi]", bias, 0.1)
    yield equal("T13.c", "with the extra reward -beta/|y| it is that of E[r - (beta/|y|) log pi]", corrected)
    yield equal(
        "T13.d", "with the regularizer's own gradient_correction it is that of E[r - (beta/|y|) log pi]", built_in
    )
    yield equal("T13.e", "with equal lengths it is that of E[r - (beta/|y|) log pi]", equal_lengths)


def _bias_of_eq7(c: Candidates, extra_N: Tensor | float = 0.0) -> Tensor:
    bonus_N = objectives.entropy_length_normalized(c.ref_logp_N, c.length_N, c.temperature)
    return detachment_bias(c, bonus_N + extra_N, c.length_N)


def detachment_bias(c: Candidates, bonus_N: Tensor, divisor_N: Tensor | float) -> Tensor:
    """Gradient of training less that of E[r - (temperature/divisor) log pi], both by autograd at the reference."""
    logits_N = c.ref_logp_N.clone().requires_grad_()
    logp_N = logits_N.log_softmax(-1)
    surrogate = (logp_N.detach().exp() * (c.reward_N + bonus_N).detach() * logp_N).sum()
    objective = (logp_N.exp() * (c.reward_N - c.temperature / divisor_N * logp_N)).sum()
    (trained,) = torch.autograd.grad(surrogate, logits_N, retain_graph=True)
    (wanted,) = torch.autograd.grad(objective, logits_N)
    return trained - wanted


def t14() -> Iterator[Check]:
    """Reading "temperature beta/|y|" into Eq. 3."""
    c = worked_example()
    naive = c.solve(exact.naive_substitution).exp()
    maximizer = c.solve(exact.length_normalized_maximizer).exp()
    point = c.solve(exact.trained_fixed_point).exp()
    same = [of_equal_length(c) for c in random_sets()]
    differences = [
        c.solve(exact.naive_substitution) - c.solve(form)
        for c in same
        for form in (exact.length_normalized_maximizer, exact.trained_fixed_point)
    ]
    yield differ("T14.a", "pi proportional to exp(|y| r/beta) is not T11's pi", naive - maximizer, 0.01)
    yield differ("T14.b", "pi proportional to exp(|y| r/beta) is not T12's pi", naive - point, 0.1)
    yield equal("T14.c", "with equal lengths pi proportional to exp(|y| r/beta) is both", differences)

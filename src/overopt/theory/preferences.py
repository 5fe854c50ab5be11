"""T3, T4, T5, T9, T10: preference models through the optimal policy, and the losses they become."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from math import log

import torch
from torch import Tensor

from overopt.theory import closed_forms as exact
from overopt.theory import objectives
from overopt.theory.candidates import Candidates, random_sets
from overopt.theory.checks import Check, differ, equal
from overopt.theory.optima import SHIFT

RANKED = 5
"""The most candidates that are ranked: all 120 orders."""

DIFFERENCE = 1e-5
"""Half the step of central differences."""

VOCABULARY = 50.0
"""Size of the vocabulary over which the uniform reference spreads its probability."""


def implicit_reward(c: Candidates) -> Tensor:
    """alpha log pi*: the reward as the optimal policy shows it."""
    return c.temperature * exact.maxent_optimum(c.reward_N, c.temperature)


def t3() -> Iterator[Check]:
    """Eq. 5: the partition function cancels."""
    errors = []
    for c in random_sets():
        first, second = c.of_pairs(implicit_reward(c))
        errors.append(exact.bradley_terry(*c.of_pairs(c.reward_N)) - torch.sigmoid(first - second))
    yield equal("T3", "Bradley-Terry from r = sigma(alpha log pi*_1 - alpha log pi*_2): Z cancels", errors)


def _rankings(count: int) -> Tensor:
    """All orders of `count` candidates, best first; `[count!, count]`."""
    return torch.tensor(list(permutations(range(count))))


def t4() -> Iterator[Check]:
    """Check C.3 of the paper: the likelihood of all rankings of a set (Plackett-Luce)."""
    through_policy, masses, pairs, firsts, losses = [], [], [], [], []
    for c in random_sets():
        reward = c.reward_N[:RANKED]
        orders = _rankings(len(reward))
        truth = exact.plackett_luce(reward[orders])
        through_policy.append(truth - exact.plackett_luce(implicit_reward(c)[:RANKED][orders]))
        policy = exact.maxent_optimum(c.reward_N, c.temperature)[:RANKED]
        losses.append(objectives.ranking_loss(policy[orders], c.temperature) + truth.log())
        masses.append(truth.sum() - 1)
        pair = torch.stack(c.of_pairs(c.reward_N), -1)
        pairs.append(exact.plackett_luce(pair) - exact.bradley_terry(*pair.unbind(-1)))
        chosen = torch.stack([truth[orders[:, 0] == i].sum() for i in range(len(reward))])
        firsts.append(chosen - reward.softmax(-1))
    yield equal(
        "T4.a", f"Plackett-Luce is the same from r and alpha log pi*: all rankings, K <= {RANKED}", through_policy
    )
    yield equal("T4.b", "Plackett-Luce probabilities of all rankings sum to 1", masses)
    yield equal("T4.c", "Plackett-Luce with K = 2 is Bradley-Terry", pairs)
    yield equal("T4.d", "Plackett-Luce ranks candidate i first with probability softmax(r)_i", firsts)
    yield equal("T4.e", "Plackett-Luce SimPO of pi*, as C.3 has it, is -log P of the ranking under r", losses)


def t5() -> Iterator[Check]:
    """Check Lemma 1 of the paper."""
    pairs, rankings = [], []
    for c in random_sets():
        first, second = c.of_pairs(c.reward_N)
        ranked = c.reward_N[:RANKED][_rankings(len(c.reward_N[:RANKED]))]
        pairs.append(exact.bradley_terry(first + SHIFT, second + SHIFT) - exact.bradley_terry(first, second))
        rankings.append(exact.plackett_luce(ranked + SHIFT) - exact.plackett_luce(ranked))
    yield equal("T5.a", "r and r + f(x) give the same Bradley-Terry probabilities", pairs)
    yield equal("T5.b", "r and r + f(x) give the same Plackett-Luce probabilities", rankings)


def _simpo(logits: Tensor, c: Candidates, gamma: float) -> Tensor:
    """The loss of a softmax policy, summed over all pairs."""
    pairs = (*c.of_pairs(logits.log_softmax(-1)), *c.of_pairs(c.length_N))
    return objectives.simpo_loss(*pairs, c.temperature, gamma).sum()


def _dpo(logp_N: Tensor, ref_logp_N: Tensor, c: Candidates) -> Tensor:
    return objectives.dpo_loss(*c.of_pairs(logp_N), *c.of_pairs(ref_logp_N), c.temperature)


def t9() -> Iterator[Check]:
    """C.4: the program's SimPO, on a softmax policy with one logit a candidate."""
    sets = random_sets()
    printed = [
        _gradient_error(Candidates(c.reward_N, torch.ones_like(c.length_N), c.ref_logp_N, c.temperature), 0.0)
        for c in sets
    ]
    full = [_gradient_error(c, gamma=0.5) for c in sets]
    finite = [_finite_difference_error(c, gamma=0.5) for c in sets]
    yield equal("T9.a", "C.4's gradient of SimPO, without |y| and gamma, is autograd's (relative)", printed)
    yield equal(
        "T9.b",
        "SimPO's gradient with |y| and gamma, (alpha/|y|) sigma(-u) on each side, is autograd's (relative)",
        full,
    )
    yield equal("T9.c", "SimPO's gradient is what central differences give (relative)", finite, tolerance=1e-6)


def _gradient_error(c: Candidates, gamma: float) -> Tensor:
    """Compare the closed form with autograd of the loss through softmax, relative to the largest component."""
    logits = c.ref_logp_N.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(_simpo(logits, c, gamma), logits)
    return (_closed_gradient(logits.detach(), c, gamma) - gradient) / gradient.abs().max()


def _closed_gradient(logits: Tensor, c: Candidates, gamma: float) -> Tensor:
    """sum over pairs of dL/dl_w grad l_w + dL/dl_l grad l_l, where grad l_i = e_i - pi."""
    pairs = (*c.of_pairs(logits.log_softmax(-1)), *c.of_pairs(c.length_N))
    chosen, rejected = exact.simpo_gradient(*pairs, c.temperature, gamma)
    first, second = c.pairs
    along = torch.zeros_like(logits).index_add(0, first, chosen).index_add(0, second, rejected)
    return along - logits.softmax(-1) * along.sum()


def _finite_difference_error(c: Candidates, gamma: float) -> Tensor:
    steps = DIFFERENCE * torch.eye(len(c.reward_N), dtype=torch.float64)
    losses = [[_simpo(c.ref_logp_N + sign * step, c, gamma) / (2 * DIFFERENCE) for sign in (1, -1)] for step in steps]
    gradient = torch.stack([above - below for above, below in losses])
    return (_closed_gradient(c.ref_logp_N, c, gamma) - gradient) / gradient.abs().max()


def t10() -> Iterator[Check]:
    """For which reference DPO is the loss of C.2."""
    losses, gradients, same_lengths, shifted = [], [], [], []
    for c in random_sets():
        logp = c.ref_logp_N.clone().requires_grad_()
        flat = torch.full_like(c.reward_N, -log(len(c.reward_N)))
        same = Candidates(c.reward_N, torch.full_like(c.length_N, 3.0), c.ref_logp_N, c.temperature)
        plain = _maxent_loss(logp, c)
        dpo = _dpo(logp, flat, c)
        losses.append((dpo - plain).detach())
        gradients.append(torch.autograd.grad(dpo.sum(), logp)[0] - torch.autograd.grad(plain.sum(), logp)[0])
        same_lengths.append(_token_uniform_dpo(c.ref_logp_N, same) - plain.detach())
        longer = _maxent_loss(c.ref_logp_N + c.length_N * log(VOCABULARY), c)
        shifted.append(_token_uniform_dpo(c.ref_logp_N, c) - longer)
    yield equal("T10.a", "DPO with a reference uniform over the candidates is C.2's loss at alpha = beta", losses)
    yield equal("T10.b", "DPO's gradient with that reference is that of C.2's loss", gradients)
    yield equal("T10.c", "DPO with a reference uniform over tokens is C.2's loss if lengths are equal", same_lengths)
    yield equal(
        "T10.d", "DPO with a reference uniform over tokens has beta (|y_w| - |y_l|) log V more in its argument", shifted
    )
    c = random_sets()[0]
    difference = _token_uniform_dpo(c.ref_logp_N, c) - _maxent_loss(c.ref_logp_N, c)
    yield differ(
        "T10.e", "DPO with a reference uniform over tokens is not C.2's loss if lengths differ", difference, 0.1
    )


def _maxent_loss(logp_N: Tensor, c: Candidates) -> Tensor:
    return exact.maxent_pair_loss(*c.of_pairs(logp_N), c.temperature)


def _token_uniform_dpo(logp_N: Tensor, c: Candidates) -> Tensor:
    return _dpo(logp_N, -c.length_N * log(VOCABULARY), c)

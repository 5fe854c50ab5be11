"""T15: properties of leave-one-out advantages over groups of completions sampled for one prompt."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from overopt.theory import closed_forms as exact
from overopt.theory import objectives
from overopt.theory.candidates import Candidates, random_sets
from overopt.theory.checks import Check, equal
from overopt.theory.optima import SHIFT

PROMPTS = 8
SIZES = (2, 3, 4, 8)


def t15() -> Iterator[Check]:
    """Check the RLOO that training uses."""
    stream = torch.Generator().manual_seed(2)
    groups = [torch.randn(PROMPTS, size, generator=stream, dtype=torch.float64) for size in SIZES]
    sums = [objectives.rloo(reward_PG).sum(-1) for reward_PG in groups]
    shifts = [objectives.rloo(reward_PG + SHIFT) - objectives.rloo(reward_PG) for reward_PG in groups]
    means = [objectives.rloo(reward_PG) - exact.leave_one_out(reward_PG) for reward_PG in groups]
    first, second = groups[0].unbind(-1)
    pairs = objectives.rloo(groups[0]) - torch.stack([first - second, second - first], -1)
    gradients = [expected_gradient(c, size) - reward_gradient(c) for c in random_sets()[:2] for size in (2, 3)]
    yield equal("T15.a", "RLOO's advantages of a prompt sum to 0", sums)
    yield equal("T15.b", "adding f(x) to all rewards of a prompt changes none of RLOO's advantages", shifts)
    yield equal("T15.c", "RLOO: A_j = k/(k-1) (R_j - mean R)", means)
    yield equal("T15.d", "with k = 2 RLOO's advantages are +-(R_1 - R_2)", [pairs])
    yield equal(
        "T15.e", "RLOO: over all groups of k samples, mean_j A_j grad log pi(y_j) is the gradient of E[R]", gradients
    )


def reward_gradient(c: Candidates) -> Tensor:
    """The gradient of E[R] for a softmax policy: pi (R - E[R])."""
    probability_N = c.ref_logp_N.exp()
    return probability_N * (c.reward_N - (probability_N * c.reward_N).sum())


def expected_gradient(c: Candidates, size: int) -> Tensor:
    """The estimator's expectation, by enumeration of all N^size groups."""
    probability_N = c.ref_logp_N.exp()
    group_PG = torch.cartesian_prod(*[torch.arange(len(c.reward_N))] * size)
    score_NN = torch.eye(len(c.reward_N), dtype=torch.float64) - probability_N  # row y: grad log pi(y)
    estimate_PN = (objectives.rloo(c.reward_N[group_PG])[..., None] * score_NN[group_PG]).mean(1)
    return (probability_N[group_PG].prod(-1)[:, None] * estimate_PN).sum(0)

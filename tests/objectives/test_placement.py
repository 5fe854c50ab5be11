"""What each regularizer descends, in each place: exact expectations over a policy whose completions can be listed.

The policy is a table: free logits over {a, b, EOS} after every prefix of up to two tokens; a completion is cut after
the third. So there are 1 + 2 + 4 prefixes and 1 + 2 + 4 * 3 completions, of lengths 1 to 3.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from overopt.objectives.policy_losses import Reinforce
from overopt.objectives.regularizers import (
    K1,
    K2,
    K3,
    KL,
    EntropyLengthNormalized,
    EntropySum,
    TokenEntropy,
    TokenKLForward,
    TokenKLReverse,
)
from overopt.types import PolicyUpdate, Rollouts, TokenLogits

EOS, LONGEST = 2, 3
PREFIXES = [prefix for n in range(LONGEST) for prefix in product((0, 1), repeat=n)]
STATE = {prefix: index for index, prefix in enumerate(PREFIXES)}
COMPLETIONS = [(*prefix, EOS) for prefix in PREFIXES] + [
    (*prefix, token) for prefix in PREFIXES if len(prefix) == LONGEST - 1 for token in (0, 1)
]
LENGTH = torch.tensor([len(y) for y in COMPLETIONS])
MASK = torch.arange(LONGEST) < LENGTH[:, None]
STATE_M = torch.tensor([STATE[y[:t]] for y in COMPLETIONS for t in range(len(y))])
TOKEN_M = torch.tensor([token for y in COMPLETIONS for token in y])


def tables() -> tuple[Tensor, Tensor]:
    """Logits `[prefix, token]` of the policy and of the reference."""
    policy_SV, reference_SV = torch.randn(
        2, len(PREFIXES), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    return policy_SV, reference_SV


def logp(table_SV: Tensor) -> Tensor:
    """Log-probabilities of the tokens of all completions, `[B, T]`."""
    value_M = table_SV.log_softmax(-1)[STATE_M, TOKEN_M]
    return value_M.new_zeros(MASK.shape).masked_scatter(MASK, value_M)


POLICY, REFERENCE = tables()
PROBABILITY = logp(POLICY).sum(1).exp()


def gradient(objective: Callable[[Tensor], Tensor]) -> Tensor:
    """The gradient of a function of the policy's table."""
    table_SV = POLICY.clone().requires_grad_()
    (result_SV,) = torch.autograd.grad(objective(table_SV), table_SV)
    return result_SV


def in_reward(regularizer: Any, coef: float = 0.3) -> Tensor:
    """Expected descent of a policy gradient whose only reward is the regularizer's bonus."""

    def surrogate(table_SV: Tensor) -> Tensor:
        logp_BT = logp(table_SV)
        rollouts = Rollouts(logp_BT.detach(), MASK, torch.zeros(len(MASK)), 1, 1.0, ref_logp_BT=logp(REFERENCE))
        bonus_B = regularizer(rollouts, coef)
        loss_B = Reinforce()(PolicyUpdate(logp_BT, logp_BT.detach(), MASK, bonus_B))
        return (PROBABILITY * loss_B).sum()

    return gradient(surrogate)


def in_loss(regularizer: Any, coef: float = 0.3) -> Tensor:
    """Expected gradient of the regularizer's own loss."""

    def loss(table_SV: Tensor) -> Tensor:
        row_M = MASK.nonzero()[:, 0]
        logits = TokenLogits(table_SV[STATE_M], TOKEN_M, row_M, ref_MV=REFERENCE[STATE_M])
        logp_BT = logp(table_SV)
        update = PolicyUpdate(
            logp_BT, logp_BT.detach(), MASK, torch.zeros(len(MASK)), ref_logp_BT=logp(REFERENCE), logits=logits
        )
        return (PROBABILITY * regularizer(update, coef)).sum()

    return gradient(loss)


# What is to be descended, as exact functions of the table


def kl_policy_reference(table_SV: Tensor) -> Tensor:
    ours_B = logp(table_SV).sum(1)
    return (ours_B.exp() * (ours_B - logp(REFERENCE).sum(1))).sum()


def kl_reference_policy(table_SV: Tensor) -> Tensor:
    theirs_B = logp(REFERENCE).sum(1)
    return (theirs_B.exp() * (theirs_B - logp(table_SV).sum(1))).sum()


def entropy(table_SV: Tensor) -> Tensor:
    ours_B = logp(table_SV).sum(1)
    return -(ours_B.exp() * ours_B).sum()


def entropy_per_token(table_SV: Tensor) -> Tensor:
    """Eq. 7's objective: the mean of -log pi(y) / |y|."""
    ours_B = logp(table_SV).sum(1)
    return -(ours_B.exp() * ours_B / LENGTH).sum()


REACHED = torch.zeros(len(PREFIXES), dtype=torch.float64).index_add(0, STATE_M, PROBABILITY[MASK.nonzero()[:, 0]])
"""How often the policy, as it is, comes by each prefix: held fixed where a divergence of tokens is descended."""


def token_kl_reverse(table_SV: Tensor) -> Tensor:
    ours, theirs = table_SV.log_softmax(-1), REFERENCE.log_softmax(-1)
    return (REACHED * (ours.exp() * (ours - theirs)).sum(-1)).sum()


def token_kl_forward(table_SV: Tensor) -> Tensor:
    ours, theirs = table_SV.log_softmax(-1), REFERENCE.log_softmax(-1)
    return (REACHED * (theirs.exp() * (theirs - ours)).sum(-1)).sum()


def token_entropy(table_SV: Tensor) -> Tensor:
    ours = table_SV.log_softmax(-1)
    return -(REACHED * (ours.exp() * ours).sum(-1)).sum()


def close(a: Tensor, b: Tensor) -> bool:
    return bool(torch.allclose(a, b, rtol=1e-10, atol=1e-12))


def far(a: Tensor, b: Tensor) -> bool:
    """Apart by more than a tenth of their size."""
    return float((a - b).norm()) > 0.1 * float(b.norm())


def test_the_completions_are_all_there_are() -> None:
    assert len(COMPLETIONS) == 7 + 8 == len(set(COMPLETIONS))
    assert float(PROBABILITY.sum()) == pytest.approx(1.0, abs=1e-12)
    assert float(REACHED[0]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("regularizer", "objective", "sign"),
    [
        (KL(), kl_policy_reference, 1.0),
        (EntropySum(), entropy, -1.0),
        (EntropyLengthNormalized(gradient_correction=True), entropy_per_token, -1.0),
    ],
    ids=["kl", "entropy_sum", "entropy_length_normalized, corrected"],
)
@pytest.mark.parametrize("coef", [0.3, 1.0])
def test_in_the_reward(regularizer: Any, objective: Callable[[Tensor], Tensor], sign: float, coef: float) -> None:
    assert close(in_reward(regularizer, coef), sign * coef * gradient(objective))


def test_minimum_entropy_is_the_same_with_the_other_sign() -> None:
    for kind in (EntropySum(), EntropyLengthNormalized()):
        assert close(in_reward(kind, -0.3), -in_reward(kind, 0.3))


def test_in_the_reward_entropy_per_token_is_biased_by_what_detaching_leaves_out() -> None:
    """T13: the bias is coef E[grad log pi(y) / |y|], which is not 0 as lengths vary."""

    def left_out(table_SV: Tensor) -> Tensor:
        return (PROBABILITY * logp(table_SV).sum(1) / LENGTH).sum()

    wanted, got, bias = -0.3 * gradient(entropy_per_token), in_reward(EntropyLengthNormalized()), gradient(left_out)
    assert far(got, wanted)
    assert float(bias.norm()) > 0.1
    assert close(got + 0.3 * bias, wanted)


def test_in_the_reward_the_sentinel_is_a_reward_for_length() -> None:
    """What TRL's 1.0 on padding adds: -coef (limit - |y|) / |y|, which descends the mean of the same."""

    def fine(table_SV: Tensor) -> Tensor:
        return (logp(table_SV).sum(1).exp() * (LONGEST - LENGTH) / LENGTH).sum()

    added = in_reward(EntropyLengthNormalized(emulate_trl_sentinel=True)) - in_reward(EntropyLengthNormalized())
    assert close(added, 0.3 * gradient(fine))
    assert float(added.norm()) > 0.01


@pytest.mark.parametrize(
    ("regularizer", "objective", "sign"),
    [
        (K2(), kl_policy_reference, 1.0),
        (K3(), kl_reference_policy, 1.0),
        (K2(per="token"), token_kl_reverse, 1.0),
        (K3(per="token"), token_kl_forward, 1.0),
        (TokenKLReverse(), token_kl_reverse, 1.0),
        (TokenKLForward(), token_kl_forward, 1.0),
        (TokenEntropy(aggregation="sequence_sum"), token_entropy, -1.0),
    ],
    ids=lambda x: repr(x) if not callable(x) or hasattr(x, "coef") else x.__name__,
)
def test_in_the_loss(regularizer: Any, objective: Callable[[Tensor], Tensor], sign: float) -> None:
    assert close(in_loss(regularizer), sign * 0.3 * gradient(objective))


@pytest.mark.parametrize("regularizer", [K1(), K1(per="token"), K1(per="token", aggregation="fixed_length")], ids=repr)
def test_k1_in_the_loss_descends_nothing(regularizer: Any) -> None:
    assert float(gradient(kl_policy_reference).norm()) > 0.1  # there would be something to descend
    assert in_loss(regularizer).abs().max() < 1e-12


def test_k1_in_the_loss_by_means_of_sequences_pulls_on_lengths() -> None:
    assert in_loss(K1(per="token", aggregation="sequence_mean")).abs().max() > 0.01


def test_the_rows_differ_where_the_docstrings_say_so() -> None:
    reverse, forward = gradient(kl_policy_reference), gradient(kl_reference_policy)
    assert far(reverse, forward)
    assert far(0.3 * reverse, in_loss(K3()))  # k3 does not descend the divergence that it estimates
    assert close(in_reward(KL()), in_loss(K2()))  # one divergence, two places
    assert far(in_loss(TokenKLReverse()), 0.3 * reverse)  # tokens' divergences neglect which prefixes are reached
    assert close(gradient(token_kl_reverse)[3:], reverse[3:])  # but not at the last token, after which nothing comes


def test_as_estimates_all_three_have_the_mean_that_they_say() -> None:
    d_B = (logp(POLICY) - logp(REFERENCE)).sum(1)
    batch = PolicyUpdate(logp(POLICY), logp(POLICY), MASK, d_B, ref_logp_BT=logp(REFERENCE))
    divergence = float(kl_policy_reference(POLICY))
    means = [float((PROBABILITY * kind()(batch, 1.0)).sum()) for kind in (K1, K2, K3)]
    assert means[0] == pytest.approx(divergence) and means[2] == pytest.approx(divergence)
    assert abs(means[1] - divergence) > 0.05  # k2 is biased in value, and right in gradient

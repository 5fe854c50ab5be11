"""What holds for every loss of pairs, and for every loss of rankings."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from preferences import Example, ranking, scored
from pydantic import ValidationError
from torch import Tensor

from overopt.config import name_of
from overopt.errors import UserError
from overopt.objectives.pair_losses import (
    CPO,
    DPO,
    IPO,
    KTO,
    ORPO,
    RPO,
    AlphaPO,
    AMoPO,
    ChiPO,
    ConfPO,
    Cringe,
    GammaPO,
    Hinge,
    PairLosses,
    PairwiseCringe,
    SimPO,
    SLiCHF,
)
from overopt.objectives.ranking_losses import RRHF, PlackettLuceDPO, PlackettLuceSimPO, RankingLosses
from overopt.objectives.state import call, initial_state
from overopt.types import CompletionLogps, PreferenceScores

DEFAULTS: list[Any] = [cls() for cls in get_args(PairLosses | RankingLosses)]
VARIANTS: list[Any] = [
    DPO(beta=0.5, label_smoothing=0.1),
    DPO(beta=0.5, label_smoothing=0.1, smoothing="robust"),
    IPO(tau=0.5, length="mean"),
    ChiPO(beta=0.3, reward_range=0.5, log_ratio_limit=1.0),
    AlphaPO(alpha=-0.5),
    RPO(beta=0.5, nll="token_mean", nll_weight=1.0),
    GammaPO(base="dpo", beta=0.5, gamma=0.4, tau=3.0),
    AMoPO(sft_weight=0.5, gamma=0.3),
    PlackettLuceSimPO(length="sum", alpha=0.3),
    RRHF(length_power=0.5),
]
EVERY = DEFAULTS + VARIANTS
SMOOTH: list[Any] = [
    *(loss for loss in EVERY if not isinstance(loss, GammaPO | AMoPO | Cringe | PairwiseCringe)),
    GammaPO(tau=1e14),  # elsewhere something is held constant that finite differences would move
    GammaPO(base="dpo", beta=0.5, tau=1e14),
    AMoPO(sft_weight=0.5),
    Cringe(top_k=1),
    PairwiseCringe(top_k=1, gate="differentiable", tau=3.0),
]


def of(loss: Any) -> str:
    return name_of(type(loss))


def value(loss: Any, scores: PreferenceScores) -> Tensor:
    return call(loss, scores, initial_state(loss))[0]


def example(loss: Any, seed: int, prompts: int = 3) -> Example:
    ranks = 3 if getattr(loss, "takes", "pairs") == "rankings" else 2
    return Example(seed, prompts, ranks, 1 + len(loss.prompts))


@pytest.mark.parametrize("loss", SMOOTH, ids=of)
def test_gradients_against_finite_differences(loss: Any) -> None:
    made = replace(example(loss, 0, prompts=2), views=1)  # with one prompt AMoPO's weight is 1, whatever is drawn
    *ranked, mismatched = made.leaves()

    def total(*leaves: Tensor) -> Tensor:
        return value(loss, made.scores([*leaves, mismatched])).sum()

    assert torch.autograd.gradcheck(total, tuple(ranked), eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("loss", EVERY, ids=of)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10_000), padding=st.integers(1, 4))
def test_padding_changes_nothing(loss: Any, seed: int, padding: int) -> None:
    made = example(loss, seed)
    leaves = made.leaves()
    plain_P, padded_P = (value(loss, made.scores(leaves, width)) for width in (5, 5 + padding))
    assert plain_P.shape == (3,) and bool(plain_P.isfinite().all())
    torch.testing.assert_close(plain_P, padded_P, rtol=1e-12, atol=1e-12)


def rows(scores: PreferenceScores, order: list[int]) -> PreferenceScores:
    """Some prompts in some order; logits are left out."""

    def pick(s: CompletionLogps) -> CompletionLogps:
        assert s.ref_logp_PT is not None
        return CompletionLogps(s.logp_PT[order], s.mask_PT[order], s.ref_logp_PT[order])

    assert scores.mismatched is not None
    views = tuple(rows(view, order) for view in scores.views)
    return PreferenceScores(tuple(map(pick, scores.ranked)), scores.mean_len, pick(scores.mismatched), views)


WITHOUT_LOGITS = [loss for loss in EVERY if "logits" not in loss.needs]


@pytest.mark.parametrize("loss", [loss for loss in WITHOUT_LOGITS if not isinstance(loss, AMoPO)], ids=of)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10_000), order=st.permutations(range(4)))
def test_losses_move_with_their_prompts(loss: Any, seed: int, order: list[int]) -> None:
    """AMoPO is not here: its draws belong to the place in the batch."""
    made = example(loss, seed, prompts=4)
    scores = made.scores(made.leaves())
    torch.testing.assert_close(value(loss, rows(scores, order)), value(loss, scores)[order], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("loss", [loss for loss in WITHOUT_LOGITS if loss.separable], ids=of)
def test_a_separable_loss_sees_nothing_of_its_neighbors_but_mean_lengths(loss: Any) -> None:
    made = example(loss, 7, prompts=4)
    scores = made.scores(made.leaves())
    parts = [value(loss, rows(scores, [i])) for i in range(4)]
    torch.testing.assert_close(torch.cat(parts), value(loss, scores), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("loss", [KTO(beta=0.5), GammaPO(tau=1.0)], ids=of)
def test_the_others_do(loss: Any) -> None:
    """Of the first prompt alone KTO's drift is above 0, of all four below."""
    made = example(loss, 4, prompts=4)
    scores = made.scores(made.leaves())
    assert not loss.separable
    assert not torch.allclose(value(loss, rows(scores, [0])), value(loss, scores)[:1])


def shifted(scores: PreferenceScores, shift_P: Tensor, what: str) -> PreferenceScores:
    """f(x) added to the log-probabilities of all completions, to those of the reference, or to the means per token."""

    def move(s: CompletionLogps) -> CompletionLogps:
        assert s.ref_logp_PT is not None
        if what == "mean":
            return CompletionLogps(s.logp_PT + shift_P[:, None] * s.mask_PT, s.mask_PT, s.ref_logp_PT)
        first_PT = shift_P[:, None] * (torch.arange(s.mask_PT.shape[1]) == 0)
        policy, reference = (
            (s.logp_PT + first_PT, s.ref_logp_PT) if what == "sum" else (s.logp_PT, s.ref_logp_PT + first_PT)
        )
        return CompletionLogps(policy, s.mask_PT, reference)

    return PreferenceScores(tuple(map(move, scores.ranked)), scores.mean_len)


DIFFERENCES: list[tuple[Any, str]] = [
    *((loss, "reference") for loss in (DPO(), DPO(label_smoothing=0.1), IPO(), Hinge(), PlackettLuceDPO())),
    *((loss, "sum") for loss in (DPO(), CPO(nll_weight=0), SLiCHF(nll_weight=0), PlackettLuceSimPO(length="sum"))),
    *((loss, "mean") for loss in (SimPO(), PlackettLuceSimPO(), RRHF(sft_weight=0))),
]


@pytest.mark.parametrize(("loss", "what"), DIFFERENCES, ids=lambda x: x if isinstance(x, str) else of(x))
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10_000), shift=st.lists(st.floats(-5, 5), min_size=3, max_size=3))
def test_adding_f_of_x_to_all_rewards_changes_nothing(loss: Any, what: str, seed: int, shift: list[float]) -> None:
    made = example(loss, seed)
    scores = made.scores(made.leaves())
    moved = shifted(scores, torch.tensor(shift, dtype=torch.float64), what)
    torch.testing.assert_close(value(loss, moved), value(loss, scores), rtol=1e-9, atol=1e-9)


IDENTITIES: dict[str, tuple[Any, Any]] = {
    "robust without smoothing": (DPO(smoothing="robust"), DPO()),
    "RPO without imitation": (RPO(beta=0.05, nll_weight=0.0), DPO()),
    "AlphaPO's limit": (AlphaPO(alpha=0.0, beta=2.0, gamma=0.5), SimPO()),
    "AlphaPO near its limit": (AlphaPO(alpha=1e-9, beta=2.0, gamma=0.5), SimPO()),
    "GammaPO held uniform": (GammaPO(beta=2.0, gamma=0.5, tau=1e14), SimPO()),
    "GammaPO without margin": (GammaPO(beta=2.0, gamma=0.0), SimPO(gamma=0.0)),
    "GammaPO on DPO, held uniform": (GammaPO(base="dpo", beta=0.05, tau=1e14), DPO()),
    "Plackett-Luce SimPO of pairs": (PlackettLuceSimPO(), SimPO()),
    "Plackett-Luce DPO of pairs": (PlackettLuceDPO(), DPO()),
}


@pytest.mark.parametrize(("general", "special"), IDENTITIES.values(), ids=list(IDENTITIES))
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_one_loss_is_a_case_of_another(general: Any, special: Any, seed: int) -> None:
    made = example(SimPO(), seed)
    scores = made.scores(made.leaves())
    torch.testing.assert_close(value(general, scores), value(special, scores), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("loss", [loss for loss in EVERY if hasattr(loss, "init")], ids=of)
def test_state_survives_being_saved(loss: Any) -> None:
    made = example(loss, 3)
    scores = made.scores(made.leaves())
    _, state = loss(scores, loss.init())
    saved = json.loads(json.dumps(state))
    assert torch.equal(loss(scores, state)[0], loss(scores, saved)[0])
    assert loss.init() != state and not loss.separable


@pytest.mark.parametrize("cls", get_args(PairLosses | RankingLosses), ids=name_of)
def test_every_loss_says_what_it_is(cls: Any) -> None:
    assert cls.__doc__ and cls.formula.startswith(("L ", "L_i", "u =")) and cls.source
    assert cls.needs <= {"reference", "mismatched", "logits"}


BAD: list[tuple[Any, str, Any]] = [
    *(
        (cls, "beta", 0.0)
        for cls in (DPO, KTO, ChiPO, CPO, RPO, Hinge, AlphaPO, GammaPO, ConfPO, AMoPO, PlackettLuceDPO)
    ),
    *((cls, "beta", -1.0) for cls in (DPO, KTO, ChiPO, CPO)),
    *((cls, "alpha", 0.0) for cls in (SimPO, PlackettLuceSimPO)),
    *((cls, "gamma", -0.1) for cls in (SimPO, AlphaPO, GammaPO, ConfPO, AMoPO, PlackettLuceSimPO)),
    *((cls, "tau", 0.0) for cls in (IPO, GammaPO, PairwiseCringe)),
    *((cls, "nll_weight", -0.1) for cls in (CPO, RPO, SLiCHF)),
    (DPO, "label_smoothing", 0.5),
    (DPO, "label_smoothing", -0.1),
    (DPO, "smoothing", "both"),
    (IPO, "length", "token"),
    (RPO, "nll", "mean"),
    (AlphaPO, "alpha", float("nan")),
    (ChiPO, "reward_range", 0.0),
    (ChiPO, "log_ratio_limit", 100.0),
    (ORPO, "odds_weight", -1.0),
    (SLiCHF, "delta", -1.0),
    (GammaPO, "steps", 0),
    (GammaPO, "subset", 0),
    (AMoPO, "prompts", []),
    (AMoPO, "prompts", ["Be kind."]),
    (Cringe, "top_k", 0),
    (Cringe, "cringe_weight", -1.0),
    (PairwiseCringe, "gate", "open"),
    (RRHF, "length_power", -1.0),
    (RRHF, "sft_weight", -1.0),
]


@pytest.mark.parametrize(("cls", "field", "wrong"), BAD, ids=lambda x: x if isinstance(x, str) else None)
def test_bad_settings_are_refused_by_name(cls: Any, field: str, wrong: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        cls(**{field: wrong})
    assert caught.value.errors()[0]["loc"][0] == field


def test_what_no_loss_can_judge_is_refused() -> None:
    with pytest.raises(UserError, match="mask_PT: a completion without tokens"):
        scored([[-1.0], []])
    with pytest.raises(UserError, match="logp_PT: a token of probability 0"):
        scored([[-1.0, float("-inf")]])
    with pytest.raises(UserError, match="ref_logp_PT: a token of probability 0"):
        scored([[-1.0]], [[float("-inf")]])


@pytest.mark.parametrize("loss", [loss for loss in WITHOUT_LOGITS if not isinstance(loss, KTO)], ids=of)
def test_one_pair_of_single_tokens_is_a_batch(loss: Any) -> None:
    chosen, rejected = scored([[-0.1]], [[-0.2]]), scored([[-2.0]], [[-1.0]])
    views = tuple(ranking(chosen, rejected) for _ in loss.prompts)
    assert bool(value(loss, ranking(chosen, rejected, views=views)).isfinite().all())


@pytest.mark.parametrize("loss", WITHOUT_LOGITS, ids=of)
@pytest.mark.parametrize("extreme", [0.0, -1e4], ids=["certain", "impossible"])
def test_extreme_log_probabilities_give_finite_values_and_gradients(loss: Any, extreme: float) -> None:
    best, worst = ([[extreme, extreme]], [[-1.0, -1.0]]) if extreme else ([[-1e4, -1e4]], [[0.0, 0.0]])
    chosen, rejected, third = (scored(rows, [[-1.0, -1.0]]) for rows in (best, worst, best))
    views = tuple(ranking(chosen, rejected) for _ in loss.prompts)
    loss_P = value(loss, ranking(chosen, rejected, mismatched=third, views=views))
    loss_P.sum().backward()
    assert bool(loss_P.isfinite().all())
    for side in (chosen, rejected):
        assert side.logp_PT.grad is None or bool(side.logp_PT.grad.isfinite().all())

"""Adaptive multi-objective preference optimization."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from overopt.config import NonNegative, Positive, block
from overopt.objectives.contracts import PreferenceLossProtocol
from overopt.objectives.pair_losses.terms import token_mean_nll
from overopt.objectives.state import State
from overopt.types import CompletionLogps, PreferenceScores


@block
class AMoPO(PreferenceLossProtocol):
    """Adaptive multi-objective preference optimization: SimPO under several prompts, each of which names a quality.

    The same pair is scored under its own prompt and under each of `prompts`, in which `{prompt}` stands for the pair's
    own prompt (in a chat, for its last turn). A dimension's weight is a softmax of draws from N(mean, standard
    deviation) of the token probabilities, of the chosen plus of the rejected completion, without gradient. The authors
    take the softmax over all rows of a micro-batch and then average; we take it over the dimensions of a pair, so that
    the weights of a pair sum to 1. A completion of one token has standard deviation 0.

    State: the number of batches for which weights were drawn. gamma 0 and no imitation term are the authors'; beta is
    SimPO's default. The wording of the prompts is ours.
    """

    config_name = "amopo"
    formula = (
        "L = -sum_d w_d log sigma(beta m_dw - beta m_dl - gamma) + sft_weight NLL(y_w), m = l/|y| under prompt d, "
        "w = softmax_d(z_dw + z_dl), z ~ N(mean_t pi(y_t), std_t pi(y_t))"
    )
    source = "Liu et al. 2025, arXiv 2506.07165"
    separable = False

    prompts: list[Annotated[str, Field(pattern=r"\{prompt\}")]] = Field(
        default=[
            "Be helpful.\n{prompt}",
            "Be correct.\n{prompt}",
            "Follow the instruction.\n{prompt}",
        ],
        min_length=1,
    )
    beta: Positive = 2.0
    gamma: NonNegative = 0.0
    sft_weight: NonNegative = 0.0
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the draws of the weights."""

    def init(self) -> State:
        """Start with no draw."""
        return {"draws": 0}

    def __call__(self, scores: PreferenceScores, state: State) -> tuple[Tensor, State]:  # type: ignore[override]
        views = (scores, *scores.views)
        margin_PD = torch.stack([self._margin(view) for view in views], 1)
        weight_PD = self._weights(views, state["draws"])
        loss_P = -(weight_PD * F.logsigmoid(margin_PD - self.gamma)).sum(1)
        if self.sft_weight:
            loss_P = loss_P + self.sft_weight * token_mean_nll(scores)
        return loss_P, {"draws": state["draws"] + 1}

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """beta times the mean log-probability per token under the pair's own prompt."""
        return self.beta * scores.chosen.mean_logp_P, self.beta * scores.rejected.mean_logp_P

    def _margin(self, view: PreferenceScores) -> Tensor:
        chosen_P, rejected_P = self.reward(view)
        return chosen_P - rejected_P

    def _weights(self, views: tuple[PreferenceScores, ...], draws: int) -> Tensor:
        """Weights `[P, D]` of the dimensions; rows sum to 1."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + draws)
        columns = []
        for view in views:
            normal_2P = torch.randn(2, len(view.chosen.logp_PT), generator=generator)
            drawn = [
                mean_P + deviation_P * normal_P.to(mean_P)
                for (mean_P, deviation_P), normal_P in zip(map(_spread, view.ranked), normal_2P, strict=True)
            ]
            columns.append(drawn[0] + drawn[1])
        return torch.stack(columns, 1).softmax(1)


def _spread(scored: CompletionLogps) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each completion's token probabilities."""
    probability_PT, count_P = scored.logp_PT.detach().exp() * scored.mask_PT, scored.len_P
    mean_P = probability_PT.sum(1) / count_P
    square_P = ((probability_PT - mean_P[:, None]) ** 2 * scored.mask_PT).sum(1)
    return mean_P, (square_P / (count_P - 1).clamp(min=1)).sqrt()

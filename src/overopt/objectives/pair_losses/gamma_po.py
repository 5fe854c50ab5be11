"""Preference optimization with adaptive margins."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from overopt.config import NonNegative, Positive, block
from overopt.objectives.contracts import PreferenceLossProtocol
from overopt.objectives.pair_losses.terms import reference_rewards
from overopt.objectives.state import State
from overopt.types import PreferenceScores


@block
class GammaPO(PreferenceLossProtocol):
    """Preference optimization with a margin for each pair: clear pairs get a larger one, ambiguous pairs a smaller one.

    The margins of a batch, and of past gaps that stand for the rest of the data, share n gamma among them: p is found
    by exponentiated-gradient steps from the uniform distribution and has no gradient. Large tau keeps every margin at
    gamma. `base` simpo: gap = beta (l_w/|y_w| - l_l/|y_l|); dpo: gap = beta [(l_w - lref_w) - (l_l - lref_l)], and the
    margin is gamma_i - gamma. A batch of one without history has margin gamma: that is SimPO (or DPO).

    State: the last `queue` gaps and how many draws were made of them. The past gaps of a batch are drawn from those
    by a generator of their own. The authors start the queue with 8 random gaps (we with none) and take the margins
    one step before their last. Defaults are their Mistral 7B settings.
    """

    config_name = "gamma_po"
    formula = (
        "L_i = -log sigma(gap_i - gamma_i), gamma_i = gamma n p_i, "
        "p = argmin over the simplex of tau KL(p || uniform) + mean_i softplus(gamma n p_i - gap_i)"
    )
    source = "Sun et al. 2025, arXiv 2506.03690"
    needs = frozenset({"reference"})
    separable = False

    base: Literal["simpo", "dpo"] = "simpo"
    beta: Positive = 2.5
    gamma: NonNegative = 0.375
    tau: Positive = 10.0
    steps: Annotated[int, Field(gt=0)] = 20
    queue: Annotated[int, Field(ge=0)] = 2048
    """How many past gaps are kept."""
    subset: Annotated[int, Field(gt=0)] = 256
    """Most gaps, the batch's own included, among which the margin is shared."""

    def init(self) -> State:
        """Start with no gap."""
        return {"gaps": [], "draws": 0}

    def __call__(self, scores: PreferenceScores, state: State) -> tuple[Tensor, State]:  # type: ignore[override]
        chosen_P, rejected_P = self.reward(scores)
        gap_P = chosen_P - rejected_P
        past, own = self._drawn(state, len(gap_P)), gap_P.detach()
        margin_P = self._margins(torch.cat([own, own.new_tensor(past)]))[: len(own)]
        offset = self.gamma if self.base == "dpo" else 0.0
        gaps = (state["gaps"] + own.tolist())[-self.queue :] if self.queue else []
        return -F.logsigmoid(gap_P - (margin_P - offset)), {"gaps": gaps, "draws": state["draws"] + 1}

    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """beta times the mean log-probability, or the log-ratio, of the chosen and the rejected completion."""
        if self.base == "dpo":
            return reference_rewards(scores, self.beta)
        return self.beta * scores.chosen.mean_logp_P, self.beta * scores.rejected.mean_logp_P

    def _drawn(self, state: State, batch: int) -> list[float]:
        """Return past gaps, drawn without replacement, that fill up the subset."""
        gaps: list[float] = state["gaps"]
        count = max(0, min(len(gaps), self.subset - batch))
        order = torch.randperm(len(gaps), generator=torch.Generator().manual_seed(state["draws"]))
        return [gaps[i] for i in order[:count].tolist()]

    def _margins(self, gap_N: Tensor) -> Tensor:
        """Return gamma_i of every gap."""
        count, rate = len(gap_N), min(0.5 / self.tau, 1.0)
        logp_N = torch.full_like(gap_N, -math.log(count))
        for _ in range(self.steps):
            pull_N = self.gamma * torch.sigmoid(self.gamma * count * logp_N.exp() - gap_N)
            logp_N = (logp_N - rate * (self.tau * logp_N + pull_N)).log_softmax(0)
        return self.gamma * count * logp_N.exp()

"""Losses of the reward model: scores `[P, K]` of ranked completions, the best first, to one loss per prompt."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from torch import Tensor

from overopt.config import Choice, NonNegative, block
from overopt.objectives.contracts import RewardLossProtocol
from overopt.objectives.plackett_luce import plackett_luce


@block
class BradleyTerry(RewardLossProtocol):
    """Bradley-Terry: the probability that one of two scores wins is the logistic function of their difference.

    `margin` asks for more than order, in units of the score; `centering` pulls the sum of a pair's scores to 0
    (Eisenstein et al. 2023), which the likelihood leaves free. Without both it is the N+ recipe's.
    """

    formula = "L = -log sigma(r_w - r_l - margin) + centering (r_w + r_l)^2"
    source = "Bradley and Terry 1952; Ouyang et al. 2022, arXiv 2203.02155, Eq. 1"

    margin: NonNegative = 0.0
    centering: NonNegative = 0.0

    def __call__(self, score_PK: Tensor) -> Tensor:
        chosen_P, rejected_P = score_PK.unbind(1)
        loss_P = -F.logsigmoid(chosen_P - rejected_P - self.margin)
        return loss_P + self.centering * (chosen_P + rejected_P) ** 2 if self.centering else loss_P


@block
class PlackettLuce(RewardLossProtocol):
    """Plackett-Luce: the ranking's likelihood, the best among all, the next among the rest, and so on.

    A margin stands between a completion and each one below it (our choice), and `centering` pulls the sum of the K
    scores to 0; K = 2 is Bradley-Terry with the same fields.
    """

    formula = "L = -sum_{k<K} [r_k - log(e^{r_k} + sum_{j>k} e^{r_j + margin})] + centering (sum_k r_k)^2"
    source = "Plackett 1975; Luce 1959"
    takes = "rankings"

    margin: NonNegative = 0.0
    centering: NonNegative = 0.0

    def __call__(self, score_PK: Tensor) -> Tensor:
        loss_P = plackett_luce(score_PK, self.margin)
        return loss_P + self.centering * score_PK.sum(1) ** 2 if self.centering else loss_P


RewardLoss = Annotated[BradleyTerry | PlackettLuce, Choice(RewardLossProtocol)]

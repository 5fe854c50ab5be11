"""Held-out pairs or rankings on which a reward model is tested: labels, gold, and what counting alone reaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from overopt.engine.packing import Tree
from overopt.models.reward_model import RewardModel
from overopt.models.text import Codec
from overopt.spooled import at
from overopt.training.baselines import Baselines
from overopt.training.data import Limits, encode_preferences, of_size
from overopt.training.pairs import ceilings_of, golds_of
from overopt.training.probes import in_order
from overopt.types import Dropped, Preference


def gaps(score_PK: Tensor) -> Tensor:
    """For each two of K ranked scores the better-labelled one's less the other's, `[P, K(K-1)/2]`."""
    better, worse = torch.triu_indices(score_PK.shape[1], score_PK.shape[1], offset=1, device=score_PK.device)
    return score_PK[:, better] - score_PK[:, worse]


@dataclass(frozen=True)
class Heldout:
    """Pairs or rankings that the reward model is tested on."""

    records: Sequence[Preference]
    trees: Sequence[Tree]
    size: int
    """Completions of a record."""
    baselines: Baselines

    @classmethod
    def of(
        cls,
        codec: Codec,
        records: Sequence[Preference],
        train: Sequence[Preference],
        size: int,
        limits: Limits,
        dropped: Dropped,
    ) -> Self:
        """Those records of `size` completions that fit; counts are fitted to the training records."""
        same, fitting = of_size(records, size, dropped), list[int]()
        trees = encode_preferences(codec, same, limits, dropped, fitting)
        kept = at(same, fitting)
        dropped.kept = len(trees)
        return cls(kept, trees, size, Baselines(train, kept))

    def agreement(self, reward_model: RewardModel, token_budget: int) -> dict[str, float]:
        """Accuracy on the labels and margin; where gold is known, agreement with it and what its labels allow.

        Of a ranking, each two of its completions count as a pair. What counting reaches stands beside both.
        """
        if not self.trees:
            return {"n": 0}
        score = reward_model.score_trees(self.trees, token_budget).double().cpu()
        gap = gaps(score.view(-1, self.size)).flatten()
        row = {
            "n": len(self.trees),
            "accuracy": float(in_order(gap).mean()),
            "margin": float(gap.mean()),
            "score_mean": float(score.mean()),
            "score_sd": float(score.std()),
        }
        return row | self._against_gold(gap)

    def _against_gold(self, gap: Tensor) -> dict[str, float]:
        golds = [gold for r in self.records if (gold := golds_of(r)) is not None]
        pairs = len(gap) // len(self.records)
        if len(golds) < len(self.records):
            return self.baselines.against(gap.numpy(), np.ones(len(gap)), pairs)
        truth = gaps(torch.tensor(golds, dtype=torch.float64)).flatten()
        clear = truth != 0
        agreement = float(in_order(gap * truth)[clear].mean())
        ceiling_of_pair = torch.tensor([c for r in self.records for c in ceilings_of(r)], dtype=torch.float64)
        ceiling = float(ceiling_of_pair[clear].mean())
        row = {"gold_agreement": agreement, "label_ceiling": ceiling, "agreement_ratio": agreement / ceiling}
        return row | self.baselines.against(gap.numpy(), truth.numpy(), pairs)

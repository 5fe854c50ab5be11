from __future__ import annotations

import pytest
import torch

from overopt.objectives.pair_losses.reference_rewards import reference_rewards
from overopt.types import PairScores


def test_rewards_by_hand() -> None:
    length_P = torch.tensor([1, 1])
    batch = PairScores(
        chosen_logp_P=torch.tensor([-2.0, -3.0]),
        rejected_logp_P=torch.tensor([-4.0, -1.0]),
        chosen_len_P=length_P,
        rejected_len_P=length_P,
        ref_chosen_logp_P=torch.tensor([-3.0, -3.0]),
        ref_rejected_logp_P=torch.tensor([-2.0, -3.0]),
    )
    chosen_P, rejected_P = reference_rewards(batch, 0.5)
    assert chosen_P.tolist() == pytest.approx([0.5, 0.0])
    assert rejected_P.tolist() == pytest.approx([-1.0, 1.0])

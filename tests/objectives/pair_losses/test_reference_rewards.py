from __future__ import annotations

import pytest
from preferences import ranking, scored, sums

from overopt.objectives.pair_losses.reference_rewards import reference_rewards


def test_rewards_by_hand() -> None:
    batch = ranking(sums([-2.0, -3.0], [1, 1], [-3.0, -3.0]), sums([-4.0, -1.0], [1, 1], [-2.0, -3.0]))
    chosen_P, rejected_P = reference_rewards(batch, 0.5)
    assert chosen_P.tolist() == pytest.approx([0.5, 0.0])
    assert rejected_P.tolist() == pytest.approx([-1.0, 1.0])


def test_without_a_reference_there_is_no_reward() -> None:
    bare = ranking(scored([[-1.0]]), scored([[-2.0]]))
    with pytest.raises(ValueError, match="name `reference` among the needs"):
        reference_rewards(bare, 0.5)

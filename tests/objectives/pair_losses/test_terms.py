from __future__ import annotations

import pytest
from preferences import ranking, scored, sums

from overopt.objectives.pair_losses.terms import reference_rewards, token_mean_nll


def test_rewards_by_hand() -> None:
    batch = ranking(sums([-2.0, -3.0], [1, 1], [-3.0, -3.0]), sums([-4.0, -1.0], [1, 1], [-2.0, -3.0]))
    chosen_P, rejected_P = reference_rewards(batch, 0.5)
    assert chosen_P.tolist() == pytest.approx([0.5, 0.0])
    assert rejected_P.tolist() == pytest.approx([-1.0, 1.0])


def test_without_a_reference_there_is_no_reward() -> None:
    bare = ranking(scored([[-1.0]]), scored([[-2.0]]))
    with pytest.raises(ValueError, match="name `reference` among the needs"):
        reference_rewards(bare, 0.5)


def test_its_mean_over_the_batch_is_the_mean_over_tokens() -> None:
    chosen, rejected = scored([[-1.0, -2.0, -3.0], [-1.0]]), scored([[-5.0], [-5.0]])
    nll_P = token_mean_nll(ranking(chosen, rejected))
    assert nll_P.tolist() == [3.0, 0.5]  # 6 and 1 over the mean length 2
    assert nll_P.mean().item() == 7 / 4


def test_a_part_of_a_batch_is_told_the_mean_length_of_all() -> None:
    part = ranking(scored([[-1.0, -2.0, -3.0]]), scored([[-5.0]]), mean_len=(2.0, 1.0))
    assert token_mean_nll(part).tolist() == pytest.approx([3.0])

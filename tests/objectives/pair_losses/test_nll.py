from __future__ import annotations

import pytest
from preferences import ranking, scored

from overopt.objectives.pair_losses.nll import token_mean_nll


def test_its_mean_over_the_batch_is_the_mean_over_tokens() -> None:
    chosen, rejected = scored([[-1.0, -2.0, -3.0], [-1.0]]), scored([[-5.0], [-5.0]])
    nll_P = token_mean_nll(ranking(chosen, rejected))
    assert nll_P.tolist() == [3.0, 0.5]  # 6 and 1 over the mean length 2
    assert nll_P.mean().item() == 7 / 4


def test_a_part_of_a_batch_is_told_the_mean_length_of_all() -> None:
    part = ranking(scored([[-1.0, -2.0, -3.0]]), scored([[-5.0]]), mean_len=(2.0, 1.0))
    assert token_mean_nll(part).tolist() == pytest.approx([3.0])

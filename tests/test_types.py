from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest
import torch

from overopt.types import (
    Completion,
    CompletionLogps,
    Dropped,
    PolicyUpdate,
    PreferenceRecord,
    PreferenceScores,
    PromptRecord,
    RankingRecord,
    Rollouts,
    TokenLogits,
    preference,
)


def rollouts(ref_logp_BT: torch.Tensor | None = None) -> Rollouts:
    return Rollouts(
        logp_BT=torch.tensor([[-1.0, -2.0, -3.0], [-0.5, 0.0, 0.0]]),
        mask_BT=torch.tensor([[True, True, True], [True, False, False]]),
        score_B=torch.zeros(2),
        group_size=2,
        temperature=1.0,
        ref_logp_BT=ref_logp_BT,
    )


def test_sums_and_lengths_of_rollouts() -> None:
    batch = rollouts(torch.tensor([[-1.5, -1.0, -2.0], [-1.0, 0.0, 0.0]]))
    assert batch.length_B.tolist() == [3, 1]
    assert batch.sequence_logp_B.tolist() == [-6.0, -0.5]
    assert batch.sequence_kl_B.tolist() == [-1.5, 0.5]


def test_a_kl_without_a_reference_is_an_error() -> None:
    with pytest.raises(ValueError, match="no reference"):
        _ = rollouts().sequence_kl_B


def test_padding_entropy_and_limits_of_rollouts() -> None:
    batch = rollouts()
    batch.entropy_BT = torch.tensor([[1.0, 2.0, 3.0], [4.0, 0.0, 0.0]])
    assert batch.token_entropy == 2.5
    assert batch.padding_B.tolist() == [0, 2]
    batch.max_len = 5
    assert batch.padding_B.tolist() == [2, 4]
    with pytest.raises(ValueError, match="no entropies"):
        _ = rollouts().token_entropy


def test_an_update_spreads_what_is_computed_of_each_tokens_logits() -> None:
    mask_BT = torch.tensor([[True, True, False], [False, False, False], [True, False, False]])
    new_MV = torch.arange(6.0).view(3, 2).requires_grad_()
    logits = TokenLogits(new_MV, torch.tensor([0, 1, 1]), torch.tensor([0, 0, 2]))
    zero_BT = torch.zeros(3, 3)
    update = PolicyUpdate(zero_BT, zero_BT - 1, mask_BT, zero_BT[0], ref_logp_BT=zero_BT - 2, logits=logits)
    drawn_BT = update.per_token(lambda piece: piece.new_MV.gather(1, piece.token_M[:, None])[:, 0])
    assert drawn_BT.tolist() == [[0.0, 3.0, 0.0], [0.0, 0.0, 0.0], [5.0, 0.0, 0.0]]
    drawn_BT.sum().backward()
    assert new_MV.grad is not None and new_MV.grad.tolist() == [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    assert update.length_B.tolist() == [2, 0, 1]
    assert (update.mean_len, update.max_len) == (1.0, 3)
    assert float(update.log_ratio_BT[0, 0]) == 1.0 and float(update.ref_log_ratio_BT[0, 0]) == 2.0


def test_an_update_says_what_it_lacks() -> None:
    zero_BT = torch.zeros(1, 1)
    bare = PolicyUpdate(zero_BT, zero_BT, zero_BT == 0, zero_BT[0])
    with pytest.raises(ValueError, match="no reference"):
        _ = bare.ref_log_ratio_BT
    with pytest.raises(ValueError, match="no logits"):
        bare.per_token(lambda piece: piece.new_MV.sum(1))


def test_dropped_counts_by_reason() -> None:
    dropped = Dropped()
    dropped.add("tie")
    dropped.add("tie", 2)
    dropped.add("empty prompt")
    assert dropped.reasons == {"tie": 3, "empty prompt": 1}
    assert Dropped().reasons == {}


def test_records_do_not_change() -> None:
    record = PromptRecord("id", "text")
    assert (record.reference, record.meta) == (None, {})
    assert record.meta is not PromptRecord("id", "text").meta
    assert Completion("text").ended
    with pytest.raises(FrozenInstanceError):
        record.prompt = "other"  # type: ignore[misc]


def test_the_types_are_there_without_torch() -> None:
    program = "import sys, overopt.types; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_two_completions_are_a_pair_and_more_a_ranking() -> None:
    a, b, c = Completion("a"), Completion("b"), Completion("c")
    assert preference("id", "text", (a, b), {}) == PreferenceRecord("id", "text", a, b)
    assert preference("id", "text", (a, b), {}).ranked == (a, b)
    assert preference("id", "text", (a, b, c), {"k": 1}) == RankingRecord("id", "text", (a, b, c), {"k": 1})


def test_sums_means_and_ratios_of_a_completion() -> None:
    mask = torch.tensor([[True, True], [True, False]])
    scored = CompletionLogps(torch.tensor([[-1.0, -2.0], [-4.0, 0.0]]), mask, torch.tensor([[-1.5, -2.5], [-3.0, 0.0]]))
    assert scored.logp_P.tolist() == [-3.0, -4.0]
    assert scored.len_P.tolist() == [2, 1]
    assert scored.mean_logp_P.tolist() == [-1.5, -4.0]
    assert scored.log_ratio_P.tolist() == [1.0, -1.0]
    with pytest.raises(ValueError, match="no logits; name `logits` among the needs"):
        scored.per_token(lambda logits: logits.new_MV[:, 0])
    ranking = PreferenceScores(
        (scored, CompletionLogps(torch.tensor([[-1.0, 0.0], [-1.0, -1.0]]), mask.flip(0)), scored)
    )
    assert ranking.mean_len == (1.5, 1.5, 1.5)
    assert ranking.chosen is scored and ranking.rejected is scored

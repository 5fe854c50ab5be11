from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest
import torch

from overopt.types import Completion, Dropped, PromptRecord, Rollouts


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

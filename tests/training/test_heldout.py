from __future__ import annotations

import math

import pytest
import tiny
import torch

from overopt.models.reward_model import RewardModel
from overopt.models.text import Codec
from overopt.tasks import Miniature
from overopt.training.data import Limits
from overopt.training.heldout import Heldout, gaps
from overopt.types import Completion, Dropped, Preference, PreferenceRecord

A, B, *_ = (Miniature().vocabulary() or [])[2:]
GOLD = [{"gold_chosen": 1.0, "gold_rejected": 0.0, "label_ceiling": 0.9}] * 2


def pair(i: int, chosen: str, rejected: str, meta: dict[str, float]) -> Preference:
    return PreferenceRecord(f"p{i}", A, Completion(chosen), Completion(rejected), dict(meta))


def heldout(records: list[Preference], dropped: Dropped | None = None) -> tuple[Heldout, RewardModel]:
    policy = tiny.policy()
    model = RewardModel.from_policy(policy, torch.Generator().manual_seed(0))
    found = Heldout.of(Codec(policy.tokenizer, "raw"), records, records, 2, Limits(8, 4), dropped or Dropped())
    return found, model


def test_of_a_ranking_each_two_completions_are_a_pair() -> None:
    score_PK = torch.tensor([[3.0, 2.0, 4.0], [1.0, 0.0, -1.0]])
    assert gaps(score_PK).tolist() == [[1.0, -1.0, -2.0], [1.0, 2.0, 1.0]]


def test_what_does_not_fit_is_left_out_and_counted() -> None:
    dropped = Dropped()
    found, _ = heldout([pair(0, A, B, {}), pair(1, f"{A} {A} {A} {A}", B, {})], dropped)
    assert [record.prompt_id for record in found.records] == ["p0"] and dropped.kept == len(found.trees) == 1
    assert dropped.reasons == {"completion longer than 4 tokens": 1}


def test_agreement_is_with_the_labels_and_with_gold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gaps of 2 and -1: the labels are right in one of two pairs, and gold prefers the chosen ones."""
    found, model = heldout([pair(i, A, B, meta) for i, meta in enumerate(GOLD)])
    monkeypatch.setattr(RewardModel, "score_trees", lambda *arguments: torch.tensor([3.0, 1.0, 0.0, 1.0]))
    row = found.agreement(model, 100)
    assert (row["n"], row["accuracy"], row["margin"]) == (2, 0.5, 0.5)
    assert row["score_mean"] == 1.25 and row["score_sd"] == pytest.approx(math.sqrt(4.75 / 3))
    assert (row["gold_agreement"], row["label_ceiling"]) == (0.5, pytest.approx(0.9))
    assert row["agreement_ratio"] == pytest.approx(0.5 / 0.9)


def test_without_pairs_there_is_nothing_to_agree_with() -> None:
    found, model = heldout([])
    assert found.agreement(model, 100) == {"n": 0}

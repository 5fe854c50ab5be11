"""Weights of completions, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from overopt.config import load
from overopt.training.stages.online import Online
from overopt.vllm.importance import TruncatedImportance


def test_the_weight_is_the_ratio_up_to_the_cap() -> None:
    log_ratio_B = torch.tensor([math.log(0.5), 0.0, math.log(1.5), math.log(2.0), math.log(8.0)])
    assert TruncatedImportance(cap=2.0)(log_ratio_B).tolist() == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0])
    assert TruncatedImportance(cap=1.0)(log_ratio_B).tolist() == pytest.approx([0.5, 1.0, 1.0, 1.0, 1.0])


def test_an_uncapped_weight_gives_the_other_policy_s_mean() -> None:
    """Three completions with probabilities mu and pi: sum mu w f = sum pi f, exactly."""
    mu, pi, f = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.3, 0.5]), torch.tensor([1.0, -2.0, 4.0])
    weight = TruncatedImportance(cap=100.0)((pi / mu).log())
    assert float((mu * weight * f).sum()) == pytest.approx(0.2 - 0.6 + 2.0)


def test_it_is_an_option_of_the_sampler() -> None:
    settings = {"name": "vllm", "url": "http://localhost:8000/v1/", "correction": {"name": "truncated", "cap": 3.0}}
    tree = {"stage": "online", "policy": "p", "reward_model": "r", "sampler": settings}
    config = load({"online": Online}, tree)
    assert config.sampler.correction == TruncatedImportance(cap=3.0)
    assert config.sampler.url == "http://localhost:8000"

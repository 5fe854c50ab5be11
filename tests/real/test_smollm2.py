"""SmolLM2-135M on real text: trees and sampling against plain transformers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from overopt.engine.head import logps_of_trees
from overopt.engine.packing import Tree
from overopt.engine.sampler import DrawKey, sample
from overopt.models.load import load_policy
from overopt.models.policy import Policy

FOLDER = Path(os.environ.get("OVEROPT_REAL_MODEL", Path(__file__).parents[2] / "out" / "example" / "model"))
PROMPTS = ["The capital of France is", "Once upon a time there was a small village by the sea, and"]
CONTINUATIONS = [" Paris, a city on the Seine.", " not a matter of opinion.", " nobody knew its name."]


@pytest.fixture(scope="module")
def policy() -> Policy:
    policy = load_policy(FOLDER, torch.device("cpu"))
    assert policy.trees
    return policy


def test_log_probabilities(policy: Policy) -> None:
    encode = policy.tokenizer.encode
    trees = [Tree(encode(p), [encode(c) for c in CONTINUATIONS]) for p in PROMPTS]
    ours = logps_of_trees(policy, trees, 1.0, 10**6)
    rows = iter(zip(*ours, strict=True))
    for tree in trees:
        for completion in tree.completions:
            ids = torch.tensor([[*tree.prompt, *completion]])
            with torch.no_grad():
                logp_LV = policy.model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
            alone = logp_LV[len(tree.prompt) - 1 : -1].gather(1, ids[0, len(tree.prompt) :, None])[:, 0]
            logp_T, mask_T = next(rows)
            torch.testing.assert_close(logp_T[mask_T], alone, rtol=1e-5, atol=1e-5)


def test_greedy_sampling(policy: Policy) -> None:
    prompts = [policy.tokenizer.encode(p) for p in PROMPTS]
    rows = sample(policy, prompts, PROMPTS, 1, 0.0, 24, DrawKey(0, "test", 0)).completions()
    for prompt, row in zip(prompts, rows, strict=True):
        ids = torch.tensor([prompt])
        settings = {"do_sample": False, "max_new_tokens": 24, "eos_token_id": policy.eos_id, "pad_token_id": 0}
        out = policy.model.generate(ids, attention_mask=torch.ones_like(ids), **settings)
        assert row == out[0, len(prompt) :].tolist()

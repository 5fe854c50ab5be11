"""SmolLM2-135M on real text: trees, their gradients and sampling against plain transformers.

With `-s` each test prints how far apart the two are.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from overopt.engine.head import logps_of_trees, target_logps
from overopt.engine.packing import Tree, micro_batches, pack
from overopt.engine.sampler import DrawKey, sample
from overopt.models.load import load_policy
from overopt.models.policy import Policy

FOLDER = Path(os.environ.get("OVEROPT_REAL_MODEL", Path(__file__).parents[2] / "out" / "example" / "model"))
PROMPTS = ["The capital of France is", "Once upon a time there was a small village by the sea, and"]
CONTINUATIONS = [" Paris, a city on the Seine.", " not a matter of opinion.", " nobody knew its name."]
FP32 = 1e-5
"""Largest difference, relative to the largest value of a tensor, that rounding in float32 may make."""


@pytest.fixture(scope="module")
def policy() -> Policy:
    policy = load_policy(FOLDER, torch.device("cpu"))
    assert policy.tree_attention
    return policy


@pytest.fixture(scope="module")
def trees(policy: Policy) -> list[Tree]:
    encode = policy.tokenizer.encode
    return [Tree(encode(p), [encode(c) for c in CONTINUATIONS]) for p in PROMPTS]


def plain(policy: Policy, trees: list[Tree]) -> Iterator[Tensor]:
    """Log-probabilities of each completion, by an ordinary forward of it alone after its prompt."""
    for tree in trees:
        for completion in tree.completions:
            ids = torch.tensor([[*tree.prompt, *completion]])
            logp_LV = policy.model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
            yield logp_LV[len(tree.prompt) - 1 : -1].gather(1, ids[0, len(tree.prompt) :, None])[:, 0]


def gradients(policy: Policy) -> dict[str, Tensor]:
    found = {name: p.grad for name, p in policy.model.named_parameters() if p.grad is not None}
    policy.model.zero_grad(set_to_none=True)
    return found


def plain_gradients(policy: Policy, trees: list[Tree]) -> dict[str, Tensor]:
    for logp_T in plain(policy, trees):
        logp_T.sum().backward()
    return gradients(policy)


def errors(found: dict[str, Tensor], truth: dict[str, Tensor]) -> tuple[float, float]:
    """The distance of all gradients together, relative to their norm; and the largest of a tensor's alone."""
    norms = {name: float((found[name].double() - grad).norm()) for name, grad in truth.items()}
    total = math.hypot(*norms.values()) / math.hypot(*(float(grad.norm()) for grad in truth.values()))
    return total, max(norms[name] / float(grad.norm()) for name, grad in truth.items())


def gap(ours: Tensor, alone: Tensor) -> float:
    return float((ours - alone).abs().max() / alone.abs().max())


def test_log_probabilities(policy: Policy, trees: list[Tree]) -> None:
    ours = logps_of_trees(policy, trees, 1.0, 10**6)
    with torch.no_grad():
        gaps = [gap(logp_T[mask_T], alone) for logp_T, mask_T, alone in zip(*ours, plain(policy, trees), strict=True)]
    print(f"log-probabilities: {max(gaps):.1e} of the largest")
    assert len(gaps) == 6 and max(gaps) < FP32


def test_gradients(policy: Policy, trees: list[Tree]) -> None:
    """Of the summed log-probabilities; ours in two micro-batches. Rounding alone moves these gradients by more than
    1e-5 in plain transformers, too, so the truth is its gradient in float64: ours are no further from it than its own.
    """
    for batch in micro_batches(trees, 40):
        packed = pack([trees[i] for i in batch])
        target_logps(policy, policy.hidden(packed), packed, 1.0).sum().backward()
    ours, alone = gradients(policy), plain_gradients(policy, trees)
    policy.model.double()
    truth = plain_gradients(policy, trees)
    policy.model.float()
    assert ours.keys() == truth.keys() and len(ours) > 200
    (error, worst), (plain_error, plain_worst) = errors(ours, truth), errors(alone, truth)
    said = f"{error:.1e} of their norm (plain {plain_error:.1e}), worst {worst:.1e} (plain {plain_worst:.1e})"
    print("gradients:", said)
    assert error < FP32 and worst < max(FP32, 1.5 * plain_worst)


def test_greedy_sampling(policy: Policy) -> None:
    prompts = [policy.tokenizer.encode(p) for p in PROMPTS]
    rows = sample(policy, prompts, PROMPTS, 1, 0.0, 24, DrawKey(0, "test", 0)).completions()
    for prompt, row in zip(prompts, rows, strict=True):
        ids = torch.tensor([prompt])
        settings = {"do_sample": False, "max_new_tokens": 24, "eos_token_id": sorted(policy.end_ids), "pad_token_id": 0}
        out = policy.model.generate(ids, attention_mask=torch.ones_like(ids), **settings)
        assert row == out[0, len(prompt) :].tolist()
    print(f"greedy tokens that agree: {sum(map(len, rows))} of {sum(map(len, rows))}")

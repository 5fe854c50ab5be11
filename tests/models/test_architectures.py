"""Every family of models computes as trees what plain transformers computes alone: values, gradients, greedy tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from tiny_models import EOS, WORDS
from torch import Tensor

from overopt.engine import native
from overopt.engine.head import logps_of_trees, target_logps
from overopt.engine.packing import Tree, micro_batches, pack
from overopt.engine.sampler import DrawKey, sample
from overopt.errors import UserError
from overopt.models.load import Scratch
from overopt.models.policy import Policy
from overopt.models.reward_model import RewardModel

GROUPED: dict[str, Any] = {"num_key_value_heads": 2}
CAPPED = GROUPED | {"head_dim": 8, "attn_logit_softcapping": 0.2}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "GPT-NeoX": ("gpt_neox", {}),
    "Llama, grouped queries, tied head": ("llama", GROUPED | {"tie_word_embeddings": True}),
    "Qwen2": ("qwen2", GROUPED),
    "Qwen3": ("qwen3", GROUPED | {"head_dim": 16}),
    "OPT": ("opt", {"ffn_dim": 64, "word_embed_proj_dim": 32}),
    "GPT-2": ("gpt2", {}),
    "Cohere, scaled logits": ("cohere", GROUPED),
    "Granite, divided logits": ("granite", GROUPED | {"logits_scaling": 4.0, "embedding_multiplier": 3.0}),
    "Gemma 3": ("gemma3_text", GROUPED | {"head_dim": 8}),
    "Phi-3": ("phi3", GROUPED),
}
OF_ITS_OWN: dict[str, tuple[str, dict[str, Any]]] = {
    "a window": ("mistral", GROUPED | {"sliding_window": 4}),
    "capped scores, capped logits": ("gemma2", CAPPED | {"final_logit_softcapping": 1.5}),
    "a bias by distance": ("bloom", {}),
    "a recurrence": ("mamba", {"state_size": 4}),
    "convolutions between attention": (
        "lfm2",
        GROUPED | {"block_ff_dim": 32, "layer_types": ["conv", "full_attention"]},
    ),
    "no cache": ("openai-gpt", {}),
    "attention called twice a layer": ("diffllama", GROUPED),
}
PROMPTS = [[2, 3, 4, 5, 6, 9, 9], [7], [8, 9, 10]]
TREES = [
    Tree(PROMPTS[0], [[7, 8, EOS], [9, 9, 9, 10, 11, 12, 2], [EOS]]),
    Tree(PROMPTS[1], [[5], [2, 3, 4, 5, 6, EOS], [13, EOS]]),
    Tree(PROMPTS[2], [[14, 15, 16], [4, 4, EOS], [3, 2, 3, 2, 3]]),
]


def build(architecture: str, extra: dict[str, Any]) -> Policy:
    settings = Scratch(architecture=architecture, hidden_size=32, layers=2, heads=4, init_std=0.2, extra=extra)
    return settings.build(WORDS, 0, torch.device("cpu"), bf16=False)


@pytest.fixture(scope="module", params=FAMILIES)
def policy(request: pytest.FixtureRequest) -> Policy:
    policy = build(*FAMILIES[request.param])
    assert policy.tree_attention
    return policy


@pytest.fixture(scope="module", params=OF_ITS_OWN)
def odd(request: pytest.FixtureRequest) -> Policy:
    return build(*OF_ITS_OWN[request.param])


def plain_logps(policy: Policy, tree: Tree) -> list[Tensor]:
    """Of each completion, by an ordinary forward of it alone after its prompt."""
    rows = []
    for completion in tree.completions:
        ids = torch.tensor([[*tree.prompt, *completion]])
        logp_LV = policy.model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
        rows.append(logp_LV[len(tree.prompt) - 1 : -1].gather(1, ids[0, len(tree.prompt) :, None])[:, 0])
    return rows


def gradients(policy: Policy) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in policy.model.named_parameters() if p.grad is not None}
    policy.model.zero_grad(set_to_none=True)
    return found


def descend(policy: Policy, trees: Sequence[Tree], token_budget: int) -> dict[str, Tensor]:
    """The gradient of a loss in which each token has another weight, gathered by micro-batches."""
    for batch in micro_batches(trees, token_budget):
        packed = pack([trees[i] for i in batch])
        logp_M = target_logps(policy, policy.hidden(packed), packed, 1.0)
        (logp_M * weight(packed.token_M, packed.column_M)).sum().backward()
    return gradients(policy)


def weight(token_M: Tensor, column_M: Tensor) -> Tensor:
    return torch.sin(3.0 * token_M + column_M)


def check_values(policy: Policy) -> None:
    ours = logps_of_trees(policy, TREES, 1.0, 40)
    plain = [row for tree in TREES for row in plain_logps(policy, tree)]
    for logp_T, mask_T, alone_T in zip(*ours, plain, strict=True):
        torch.testing.assert_close(logp_T[mask_T], alone_T, rtol=0, atol=1e-5)


def check_gradients(policy: Policy) -> None:
    for tree in TREES:
        for completion, logp_T in zip(tree.completions, plain_logps(policy, tree), strict=True):
            token_T = torch.tensor(completion)
            (logp_T * weight(token_T, torch.arange(len(token_T)))).sum().backward()
    plain, ours = gradients(policy), descend(policy, TREES, 40)
    assert ours.keys() == plain.keys() and len(ours) > 10
    for name, grad in plain.items():
        torch.testing.assert_close(ours[name], grad, rtol=1e-5, atol=1e-5 * float(grad.abs().max()) + 1e-6)


def check_greedy(policy: Policy) -> None:
    rows = sample(policy, PROMPTS, ["a", "b", "c"], 1, 0.0, 12, DrawKey(0, "test", 0)).completions()
    for prompt, row in zip(PROMPTS, rows, strict=True):
        ids = torch.tensor([prompt])
        settings = {"do_sample": False, "max_new_tokens": 12, "eos_token_id": EOS, "pad_token_id": 0}
        out = policy.model.generate(ids, attention_mask=torch.ones_like(ids), **settings)
        assert row == out[0, len(prompt) :].tolist()


def check_captured(policy: Policy) -> None:
    samples = sample(policy, PROMPTS, ["a", "b", "c"], 3, 0.8, 9, DrawKey(0, "test", 0))
    rows = samples.completions()
    trees = [Tree(prompt, rows[3 * i : 3 * i + 3]) for i, prompt in enumerate(PROMPTS)]
    again = logps_of_trees(policy, trees, 0.8, 10**6)
    torch.testing.assert_close(samples.logp_BT, again.logp_BT, rtol=0, atol=1e-5)


def test_log_probabilities(policy: Policy) -> None:
    check_values(policy)


def test_gradients(policy: Policy) -> None:
    check_gradients(policy)


COMPILED = [False] if native.library() is None else [False, True]


@pytest.mark.parametrize("compiled", COMPILED)
def test_greedy_sampling(policy: Policy, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "available", lambda device: compiled)
    check_greedy(policy)


@pytest.mark.parametrize("compiled", COMPILED)
def test_log_probabilities_captured_while_sampling(
    policy: Policy, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "available", lambda device: compiled)
    check_captured(policy)


def test_scores(policy: Policy) -> None:
    """A reward model reads each completion's last token, which may lie anywhere among the tokens of a tree."""
    kind = policy.model.config.model_type
    if kind in ("cohere", "granite"):
        with pytest.raises(UserError, match=f"transformers has no sequence classifier for {kind} models"):
            RewardModel.from_policy(policy, torch.Generator().manual_seed(0))
        return
    reward_model = RewardModel.from_policy(policy, torch.Generator().manual_seed(0))
    scores = reward_model.score_trees(TREES, 40)
    rows = [[*tree.prompt, *completion] for tree in TREES for completion in tree.completions]
    with torch.no_grad():
        alone = [reward_model.model.base_model(torch.tensor([row])).last_hidden_state[0, -1] for row in rows]
        torch.testing.assert_close(scores, reward_model.head(torch.stack(alone))[:, 0], rtol=0, atol=1e-5)


def test_any_micro_batches_and_any_order_give_the_same_gradients(policy: Policy) -> None:
    whole = descend(policy, TREES, 10**6)
    single = [Tree(tree.prompt, [c]) for tree in TREES for c in tree.completions]
    for trees, budget in [(TREES, 1), (TREES[::-1], 30), (single, 1), (single[::-1], 10**6)]:
        for name, grad in descend(policy, trees, budget).items():
            torch.testing.assert_close(grad, whole[name], rtol=1e-4, atol=1e-5 * float(whole[name].abs().max()) + 1e-6)


def test_attention_of_its_own_is_detected_and_computed_right(odd: Policy) -> None:
    assert not odd.tree_attention and not odd.frozen_copy().tree_attention
    kind = odd.model.config.model_type
    assert odd.cache == {"mamba": "equal", "lfm2": "equal", "openai-gpt": "none"}.get(kind, "padded")
    if kind == "gemma2":
        assert odd.model.config._attn_implementation == "eager"
    check_values(odd)
    check_gradients(odd)
    check_greedy(odd)
    check_captured(odd)


@pytest.mark.parametrize("kind", ["a window", "a recurrence"])
def test_the_fallback_says_so_once(
    kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("overopt.models.verify._said", set())
    for _ in range(2):
        build(*OF_ITS_OWN[kind])
    assert capsys.readouterr().err.count(f"this {OF_ITS_OWN[kind][0]} model's attention is its own") == 1


def test_two_threads_give_the_same_gradients() -> None:
    policy, before = build(*FAMILIES["GPT-NeoX"]), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = descend(policy, TREES, 40)
        torch.set_num_threads(2)
        two = descend(policy, TREES, 40)
    finally:
        torch.set_num_threads(before)
    for name, grad in one.items():
        torch.testing.assert_close(two[name], grad, rtol=1e-4, atol=1e-5 * float(grad.abs().max()) + 1e-6)

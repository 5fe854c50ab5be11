from __future__ import annotations

import pytest
import tiny
import torch

from overopt.engine.head import logps_of_trees
from overopt.errors import UserError
from overopt.models.load import Scratch
from overopt.models.policy import Policy
from overopt.models.properties import LogitMap
from overopt.models.reward_model import RewardModel
from overopt.models.verify import check_finite, check_limits, verify_policy, verify_reward_model

CPU = torch.device("cpu")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_named(value: float) -> None:
    policy = tiny.policy()
    with torch.no_grad():
        policy.head.weight[3, :2] = value
    with pytest.raises(
        UserError, match=r"m: its weights are damaged: 2 of 2272 values of (lm_head|embed_out).weight are NaN or"
    ):
        verify_policy(policy, "m")


def test_a_reward_model_is_looked_at_too() -> None:
    reward_model = RewardModel.from_policy(tiny.policy(), torch.Generator().manual_seed(0))
    verify_reward_model(reward_model, "m")
    with torch.no_grad():
        reward_model.head.weight[0, 0] = float("nan")
    with pytest.raises(UserError, match="1 of 16 values of score.weight"):
        verify_reward_model(reward_model, "m")


@pytest.mark.parametrize("seed", range(3))
def test_the_rounding_of_bf16_is_no_other_model(seed: int, capfd: pytest.CaptureFixture[str]) -> None:
    """Random weights this large and eight layers make errors of a per cent in hidden states and scores."""
    settings = Scratch(architecture="llama", hidden_size=128, layers=8, heads=4, init_std=0.09)
    policy = settings.build([f"<{i}>" for i in range(50)], seed, CPU, bf16=True)
    verify_reward_model(RewardModel.from_policy(policy, torch.Generator().manual_seed(seed)), "m")
    assert policy.tree_attention and policy.bf16 and "its own" not in capfd.readouterr().err


def test_large_weights_are_numbers() -> None:
    policy = tiny.policy()
    with torch.no_grad():
        policy.head.weight[:2] = 3e38  # whose sum is infinite
    check_finite(policy, "m")


@pytest.mark.parametrize(
    ("architecture", "extra"),
    [
        ("granite", {"logits_scaling": 4.0}),
        ("cohere", {}),
        ("gemma2", {"head_dim": 8, "num_key_value_heads": 1, "final_logit_softcapping": 30.0}),
    ],
)
def test_fresh_weights_do_not_hide_what_the_configuration_does(architecture: str, extra: dict[str, float]) -> None:
    """With these weights logits are so small that a scale or a cap moves them by less than any tolerance."""
    settings = Scratch(architecture=architecture, hidden_size=16, heads=2, init_std=1e-4, extra=extra)
    policy = settings.build([f"<{i}>" for i in range(20)], 0, CPU, False)
    policy.logit_map = LogitMap()
    with pytest.raises(UserError, match=f"this {architecture} model is not supported: its log-probabilities differ"):
        verify_policy(policy, "m")


def test_an_end_of_sequence_that_the_model_has_no_row_for_is_refused() -> None:
    policy = tiny.policy()
    policy.tokenizer.add_special_tokens({"eos_token": "<neweos>"})
    with pytest.raises(UserError, match="eos_token '<neweos>' is token 142, and the model knows 142 tokens"):
        verify_policy(policy, "m")


def test_a_padding_token_without_a_row_is_not_looked_up() -> None:
    policy = tiny.policy("gptj", rotary_dim=4)
    policy.tokenizer.add_special_tokens({"pad_token": "<newpad>"})
    again = Policy(policy.model, policy.tokenizer)
    again.tree_attention = False  # as GPT-J goes where it has no fused attention: then rows are padded
    assert (again.pad_id, again.known_tokens) == (1, 142)
    logps_of_trees(again, tiny.TREES, 1.0, 10_000)


def test_limits_beyond_the_positions_are_refused_and_beyond_the_window_go_by_rows() -> None:
    with pytest.raises(UserError, match=r"more than the 256 positions that this gpt2 model has; lower the limits"):
        check_limits(tiny.policy("gpt2"), 200, 57)
    policy = tiny.policy("mistral", sliding_window=100, num_key_value_heads=1)
    policy.tree_attention = True
    check_limits(policy, 50, 50)
    assert policy.tree_attention
    check_limits(policy, 50, 51)
    assert not policy.tree_attention and policy.cache == "padded"

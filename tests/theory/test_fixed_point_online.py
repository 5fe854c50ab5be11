"""T12 with nothing exact: the program's own online loop, sampling from a policy that is a table, ends where T12 says.

On its first prompt completions have one to three tokens, on its second all have three. Without noise in the reward
every advantage is 0 at the fixed point, so sampling makes no error there either, and one run arrives exactly. With a
noisy reward runs differ, and where they end on average is known up to a Monte-Carlo standard error.
"""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
import tabular
import torch
from safetensors.torch import load_file
from torch import Tensor

from overopt.records import Run
from overopt.theory import closed_forms
from overopt.training.train import train

BETA = 1.0
SEEDS, NOISE = 8, 0.5
STREAM = random.Random(7)
REWARDS = {(p, *word): STREAM.gauss(0, 0.2) for p in tabular.PROMPTS for word in tabular.completions(p)}
DIFFERENT, EQUAL_LENGTH = tabular.PROMPTS
"""The prompt whose completions have different lengths, and the other one."""


def online(folder: Path, seed: int = 0, noise: float = 0.0, updates: int = 300, **regularizer: Any) -> Run:
    """SGD at a rate that falls to 0, T = 1, 64 samples of each prompt an update."""
    policy = tabular.save_policy(folder / "policy")
    reward_model = tabular.save_reward(folder / "reward", REWARDS, noise, noise_seed=seed)
    config = {
        "stage": "online",
        "policy": str(policy),
        "reward_model": str(reward_model),
        "task": {"name": "tabular:TwoPrompts"},
        "seed": seed,
        "regularizers": [{"name": "entropy_length_normalized", "coef": BETA} | regularizer],
        "advantage": "rloo",
        "missing_eos": "keep",
        "lr": 15.0,
        "optimizer": "sgd",
        "schedule": "linear",
        "total_episodes": updates * 128,
        "episodes_per_update": 128,
        "samples_per_prompt": 64,
        "epochs": 1,
        "temperature": 1.0,
        "max_prompt_tokens": 1,
        "max_completion_tokens": tabular.LONGEST,
        "checkpoint_every": updates,
        "compute": {"device": "cpu", "threads": 1},
    }
    return train(config, folder / "run")


def table(run: Run) -> Tensor:
    return load_file(run.checkpoint() / "model.safetensors")["lm_head.weight"]


def rewards_and_lengths(prompt: int) -> tuple[Tensor, Tensor]:
    words = tabular.completions(prompt)
    rewards = torch.tensor([REWARDS[(prompt, *word)] for word in words], dtype=torch.float64)
    return rewards, torch.tensor([len(word) for word in words], dtype=torch.float64)


def fixed_point(prompt: int) -> Tensor:
    """T12."""
    return closed_forms.trained_fixed_point(*rewards_and_lengths(prompt), BETA).exp()


def maximizer(prompt: int) -> Tensor:
    """T11."""
    return closed_forms.length_normalized_maximizer(*rewards_and_lengths(prompt), BETA).exp()


def trained(run: Run, prompt: int) -> Tensor:
    return tabular.log_probabilities(table(run), prompt).exp()


def test_the_table_is_what_the_loop_samples_from(tmp_path: Path) -> None:
    """15 and 12 completions, equally likely tokens: the recorded surprisal is that of the enumeration."""
    assert [len(tabular.completions(prompt)) for prompt in tabular.PROMPTS] == [15, 12]
    run = online(tmp_path, updates=1)
    start = load_file(tmp_path / "policy" / "model.safetensors")["lm_head.weight"]
    surprisals = []
    for prompt in tabular.PROMPTS:
        logp = tabular.log_probabilities(start, prompt)
        assert float(logp.exp().sum()) == pytest.approx(1, abs=1e-12)
        surprisals.append(-float((logp.exp() * logp).sum()))
    assert surprisals == pytest.approx([math.log(3) * (1 + 2 / 3 + 4 / 9), math.log(4 * 3)])
    (row,) = run.iter_metrics()
    assert row["neg_logp_sum"] == pytest.approx(sum(surprisals) / 2, abs=0.25)
    assert row["sampler_gap"] < 1e-6


def test_two_hundred_updates_lead_towards_the_fixed_point(tmp_path: Path) -> None:
    run = online(tmp_path, updates=200)
    for prompt in tabular.PROMPTS:
        assert float((trained(run, prompt) - fixed_point(prompt)).norm()) < 0.01
    assert float((trained(run, DIFFERENT) - maximizer(DIFFERENT)).norm()) > 0.1


@pytest.mark.long
def test_a_run_without_noise_arrives(tmp_path: Path) -> None:
    """There the shaped reward is one number c for all completions of a prompt, and nothing moves any more."""
    run = online(tmp_path, updates=400)
    for prompt in tabular.PROMPTS:
        assert float((trained(run, prompt) - fixed_point(prompt)).abs().max()) < 1e-4
        rewards, lengths = rewards_and_lengths(prompt)
        shaped = rewards - BETA / lengths * trained(run, prompt).log()
        assert float(shaped.max() - shaped.min()) < 1e-3
    assert run.series("grad_norm")[1][-1] < 1e-4


@pytest.mark.long
def test_with_the_gradient_corrected_it_arrives_at_the_maximizer(tmp_path: Path) -> None:
    """The same loop, and the other point: what decides is the detached reward's bias, not the sampling."""
    run = online(tmp_path, updates=400, gradient_correction=True)
    for prompt in tabular.PROMPTS:
        assert float((trained(run, prompt) - maximizer(prompt)).abs().max()) < 1e-3
    assert float((trained(run, DIFFERENT) - fixed_point(DIFFERENT)).norm()) > 0.1


@pytest.mark.long
def test_noisy_runs_end_at_the_fixed_point_on_average(tmp_path: Path) -> None:
    """Within 3 standard errors of T12's point, and where lengths differ nearer to it than to T11's by 5."""
    runs = [online(tmp_path / str(seed), seed, NOISE) for seed in range(SEEDS)]
    for prompt in tabular.PROMPTS:
        ends = torch.stack([trained(run, prompt) for run in runs])
        mean, error = ends.mean(0), float((ends.var(0) / SEEDS).sum().sqrt())
        to_fixed_point = float((mean - fixed_point(prompt)).norm())
        to_maximizer = float((mean - maximizer(prompt)).norm())
        print(f"prompt {prompt}: to T12 {to_fixed_point:.5f}, to T11 {to_maximizer:.5f}, standard error {error:.5f}")
        assert to_fixed_point <= 3 * error
        if prompt == DIFFERENT:
            assert to_maximizer - to_fixed_point >= 5 * error
        else:
            assert torch.allclose(maximizer(prompt), fixed_point(prompt), atol=1e-12)

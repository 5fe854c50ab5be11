"""Rewards of the user's: added to the score with their weights, recorded by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from tiny import Chain

from overopt.config import load
from overopt.errors import ConfigError, UserError
from overopt.training.rewards import RewardFunction, add_rewards, check_rewards, metric_names
from overopt.training.stages.online import Online
from overopt.training.train import train
from overopt.types import Completion, PromptRecord

MINE = """
def length(prompts, completions, **columns):
    return [len(completion.split()) for completion in completions]

def told(completions, facts, **columns):
    return [sum(word in c.split() for word in f.values()) for c, f in zip(completions, facts)]

def wants_more(completions, solution, **columns):
    return [0.0] * len(completions)

def without_columns(prompts, completions):
    return [0.0] * len(completions)

def too_few(completions, **columns):
    return [1.0]
"""
RECORDS = [PromptRecord("a", "x"), PromptRecord("b", "y")]
COMPLETIONS = [Completion("one two three"), Completion("one")]


@pytest.fixture
def mine(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(MINE)
    return f"{tmp_path}/mine.py"


def test_the_score_is_a_weighted_sum_and_parts_are_recorded_without_weight(mine: str) -> None:
    rewards = [RewardFunction(name=f"{mine}:length", weight=0.5), RewardFunction(name=f"{mine}:length", weight=-1.0)]
    score_B, means = add_rewards(rewards, torch.tensor([10.0, 20.0]), RECORDS, COMPLETIONS, modeled=True)
    assert score_B.tolist() == [10 + 1.5 - 3, 20 + 0.5 - 1]
    assert means == {"reward/reward_model": 15.0, "reward/length": 2.0, "reward/length#2": 2.0}
    assert "reward/reward_model" not in add_rewards(rewards, torch.zeros(2), RECORDS, COMPLETIONS, modeled=False)[1]


def test_without_functions_the_score_is_the_reward_models(mine: str) -> None:
    given_B = torch.tensor([1.0, 2.0])
    score_B, means = add_rewards([], given_B, RECORDS, COMPLETIONS, modeled=True)
    assert score_B is given_B and means == {}


def test_a_function_called_reward_model_keeps_a_name_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text("def reward_model(**columns): return [0.0]\n")
    assert metric_names([RewardFunction(name=f"{tmp_path}/odd.py:reward_model")]) == ["reward/reward_model#2"]


def test_columns_are_looked_at_before_anything_is_sampled(mine: str) -> None:
    with pytest.raises(UserError, match=r"^rewards\.0: .*:wants_more asks for 'solution'; the task's records have"):
        check_rewards([RewardFunction(name=f"{mine}:wants_more")], RECORDS)


def test_an_online_run_on_functions_alone(mine: str, chain: Chain, tmp_path: Path) -> None:
    (tmp_path / "yaml").mkdir()
    rewards = [{"name": "mine:length", "weight": -0.1}, "mine:told"]
    config = tiny.online(chain, reward_model=None, rewards=rewards)
    run = train(config, tmp_path / "run", base=Path(mine).parent)
    for row in run.iter_metrics():
        expected = -0.1 * row["reward/length"] + row["reward/told"]
        assert row["score_mean"] == pytest.approx(expected, abs=1e-5)
        assert row["reward/length"] == pytest.approx(row["len_mean"] - row["eos_rate"], abs=1e-5)  # EOS is no word
        assert "reward/reward_model" not in row
    assert run.config["rewards"][0] == {"name": "../mine.py:length", "weight": -0.1}
    again = load({"online": Online}, run.path / "config.yaml")
    assert [reward.name for reward in again.rewards] == [f"{mine}:length", f"{mine}:told"]


def test_functions_beside_a_reward_model(mine: str, chain: Chain, tmp_path: Path) -> None:
    config = tiny.online(chain, rewards=[{"name": f"{mine}:told", "weight": 0.0}], regularizers=[])
    row, *_ = train(config, tmp_path / "run").iter_metrics()
    assert row["score_mean"] == pytest.approx(row["reward/reward_model"], abs=1e-6)
    assert row["reward/told"] >= 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine:lenght", "rewards.0: '.*mine.py' has no function 'lenght' .did you mean 'length'. valid: length, "),
        ("nowhere:fn", "rewards.0: cannot load 'nowhere': ModuleNotFoundError"),
        ("mine:without_columns", "rewards.0: .* must take .prompts, completions, \\*\\*columns.; it lacks"),
        ("length", "rewards.0: expected a function as my_module:fn, got 'length'"),
    ],
)
def test_a_name_that_is_none_is_a_config_error(mine: str, chain: Chain, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load({"online": Online}, tiny.online(chain, rewards=[{"name": name}]), base=Path(mine).parent)


def test_bad_functions_leave_nothing_behind(mine: str, chain: Chain, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="asks for 'solution'; the task's records have: .*facts"):
        train(tiny.online(chain, rewards=[{"name": f"{mine}:wants_more"}]), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="rewards.0: .*:too_few must return 8 numbers, one a completion; it returned 1"):
        train(tiny.online(chain, rewards=[{"name": f"{mine}:too_few"}]), tmp_path / "failed")

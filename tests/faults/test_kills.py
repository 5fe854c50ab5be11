"""SIGKILL at random instants: the same command continues, and what it leaves is equal to the last bit.

`make test-faults` prints for each stage the counts and, of each kill, the last step that was recorded (`w`: inside a
write). OVEROPT_FAULT_SEED chooses other instants.
"""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from tiny import Chain

from faults import MODELS, Config, Stand
from overopt.models.load import load_policy
from overopt.records import load_run

pytestmark = pytest.mark.long

EVERY = 3
SEED = int(os.environ.get("OVEROPT_FAULT_SEED", "0"))

STAGES: dict[str, Callable[[Chain], Config]] = {
    "sft": lambda chain: tiny.sft(steps=12, checkpoint_every=EVERY),
    "reward_model": lambda chain: tiny.reward_model(chain, epochs=3, checkpoint_every=EVERY),
    "online": lambda chain: tiny.online(chain, total_episodes=96, checkpoint_every=EVERY),
    "offline": lambda chain: tiny.offline(chain, epochs=3, checkpoint_every=EVERY),
}

ADAPTIVE_KL = {"name": "adaptive_kl", "target": 0.01, "horizon": 40.0}
TARGET_ENTROPY = {"name": "target_entropy", "target": 0.5, "rate": 2.0}

ONLINE: dict[str, dict[str, Any]] = {
    "adaptive KL": {"regularizers": [{"name": "kl", "coef": ADAPTIVE_KL}]},
    "target entropy": {"regularizers": [{"name": "entropy_length_normalized", "coef": TARGET_ENTROPY}]},
    "adaptive KL in the loss": {"loss_regularizers": [{"name": "k2", "coef": ADAPTIVE_KL}]},
    "target entropy in the loss": {"loss_regularizers": [{"name": "token_entropy", "coef": TARGET_ENTROPY}]},
    "schedules": {
        "regularizers": [{"name": "kl", "coef": {"name": "linear"}}],
        "loss_regularizers": [{"name": "token_entropy", "coef": {"name": "cosine"}}],
    },
    "running baseline": {"advantage": "running_baseline"},
    "all at once": {
        "regularizers": [
            {"name": "kl", "coef": ADAPTIVE_KL},
            {"name": "entropy_sum", "coef": TARGET_ENTROPY},
        ],
        "loss_regularizers": [{"name": "k3", "coef": ADAPTIVE_KL}, {"name": "token_entropy", "coef": TARGET_ENTROPY}],
        "advantage": "running_baseline",
    },
    "greedy baseline": {"advantage": "remax"},
    "momentum": {"optimizer": {"name": "sgd", "momentum": 0.9}, "lr": 1e-2},
}
"""Everything that an online run remembers from one update to the next."""

OFFLINE: dict[str, dict[str, Any]] = {
    "gamma_po": {"loss": "gamma_po"},
    "amopo": {"loss": "amopo"},
    "kto": {"loss": "kto"},
}

KEPT: dict[str, dict[str, Any]] = {"last": {"keep": "last"}, "best": {"keep": "best"}}


def tell(capsys: pytest.CaptureFixture[str], what: str, tally: object) -> None:
    with capsys.disabled():
        print(f"\n{what}: {tally}", flush=True)


def rng(name: str) -> random.Random:
    return random.Random(SEED + zlib.crc32(name.encode()))


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage(stage: str, chain_of: Callable[[str], Chain], tmp_path: Path, capsys: Any) -> None:
    tally = Stand(STAGES[stage](chain_of("gpt_neox untied")), tmp_path, EVERY).survive(20, rng(stage))
    tell(capsys, stage, tally)
    assert tally.deaths >= 20 and tally.after_checkpoint >= 15 and tally.in_write >= 5


@pytest.mark.parametrize("name", ONLINE)
def test_every_state_of_an_objective_online(
    name: str, chain_of: Callable[[str], Chain], tmp_path: Path, capsys: Any
) -> None:
    config = STAGES["online"](chain_of("gpt_neox untied")) | ONLINE[name]
    tell(capsys, f"online, {name}", Stand(config, tmp_path, EVERY).survive(5, rng(name)))


@pytest.mark.parametrize("name", OFFLINE)
def test_every_state_of_an_objective_offline(
    name: str, chain_of: Callable[[str], Chain], tmp_path: Path, capsys: Any
) -> None:
    config = STAGES["offline"](chain_of("gpt_neox untied")) | OFFLINE[name]
    tell(capsys, f"offline, {name}", Stand(config, tmp_path, EVERY).survive(5, rng(name)))


@pytest.mark.parametrize("name", KEPT)
def test_every_policy_of_what_is_kept(name: str, chain_of: Callable[[str], Chain], tmp_path: Path, capsys: Any) -> None:
    config = STAGES["online"](chain_of("gpt_neox untied")) | KEPT[name]
    stand = Stand(config, tmp_path, EVERY)
    tell(capsys, f"online, keep: {name}", stand.survive(5, rng(name)))
    assert len({file.split("/")[1] for file in stand.expected if file.startswith("checkpoints/")}) == 1


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("model", list(MODELS)[1:])
def test_every_kind_of_model(
    model: str, stage: str, chain_of: Callable[[str], Chain], tmp_path: Path, capsys: Any
) -> None:
    config = STAGES[stage](chain_of(model))
    if stage == "sft":
        config |= {"model": tiny.MODEL | MODELS[model]}
    tell(capsys, f"{stage}, {model}", Stand(config, tmp_path, EVERY).survive(5, rng(model + stage)))


def test_the_models_are_of_their_kinds(chain_of: Callable[[str], Chain]) -> None:
    for name in MODELS:
        policy = load_policy(load_run(chain_of(name).policy).checkpoint(), torch.device("cpu"))
        embedding = policy.model.get_input_embeddings().weight
        assert (policy.head.weight is embedding) == name.endswith(" tied")
        assert policy.model.config.model_type == name.partition(" ")[0]

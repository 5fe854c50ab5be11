"""A run that has not begun, and what its steps would change."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny

from overopt import config as configuration
from overopt.engine.optimizer import AdamW, Constant, Optimizer
from overopt.training.run.session import Session
from overopt.training.run.trainer_state import TrainerState
from overopt.training.stages import STAGES


@pytest.fixture
def session(tmp_path: Path) -> Session:
    config = configuration.load(STAGES, tiny.sft(provenance={"lr": "our choice"}))
    return Session(config, tmp_path / "run")


@pytest.fixture
def trainer() -> TrainerState:
    policy = tiny.policy()
    optimizer = Optimizer(policy.parameters(), AdamW(), 1e-2, Constant(), 10)
    return TrainerState(policy, optimizer, iter(range(10)))

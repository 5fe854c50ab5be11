from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from overopt.config import load
from overopt.config.contract import conform
from overopt.errors import ConfigError
from overopt.objectives import contracts
from overopt.objectives.dictionary import UNIONS, classes
from overopt.objectives.pair_losses import DPO, KTO, AMoPO, Cringe
from overopt.objectives.state import initial_state
from overopt.training.stages import STAGES

CONTRACTS = {
    "pair_loss": contracts.PreferenceLossProtocol,
    "ranking_loss": contracts.PreferenceLossProtocol,
    "reward_loss": contracts.RewardLossProtocol,
    "reward_regularizer": contracts.RewardRegularizerProtocol,
    "loss_regularizer": contracts.LossRegularizerProtocol,
    "advantage": contracts.AdvantageProtocol,
    "policy_loss": contracts.PolicyLossProtocol,
    "controller": contracts.ControllerProtocol,
    "missing_eos": contracts.MissingEOSProtocol,
}


@pytest.mark.parametrize(("kind", "cls"), [(kind, cls) for kind in UNIONS for cls in classes(kind)])
def test_every_objective_keeps_the_contract_of_its_kind(kind: str, cls: Any) -> None:
    assert conform(cls, CONTRACTS[kind]) == []
    assert CONTRACTS[kind] in cls.__mro__
    assert cls.formula and cls.source


def test_what_a_preference_loss_says_of_itself() -> None:
    assert [
        (loss.needs, loss.takes, loss.separable, len(loss.prompts)) for loss in (DPO(), KTO(), Cringe(), AMoPO())
    ] == [
        ({"reference"}, "pairs", True, 0),
        ({"reference", "mismatched"}, "pairs", False, 0),
        ({"logits"}, "pairs", True, 0),
        (set(), "pairs", False, 3),
    ]
    assert initial_state(DPO()) == {} and initial_state(AMoPO()) == {"draws": 0}


MINE = """
from overopt.config import block

class Whole:
    def __call__(self, scores):
        return self.reward(scores)[1]
    def reward(self, scores):
        return scores.chosen.logp_P, scores.rejected.logp_P

@block
class Short(Whole):
    pass

@block
class Forgetful(Whole):
    def init(self):
        return {}
    def __call__(self, scores, state):
        return self.reward(scores)[1], state

@block
class Many(Whole):
    prompts: tuple[str, ...] = ("Once more: {prompt}",)

@block
class Dense(Whole):
    separable = False
    needs = frozenset({"logits"})

@block
class Wrong:
    needs = frozenset({"refrence"})
    takes = "triples"
    def __call__(self):
        pass

@block
class Advantage:
    def __call__(self, rewards):
        return rewards.reward_PG

@block
class Bonus:
    def __call__(self, rollouts):
        return rollouts.score_B
"""


def loaded(folder: Path, stage: str, **changes: Any) -> Any:
    (folder / "mine.py").write_text(MINE)
    parents = {"offline": {"policy": "p"}, "online": {"policy": "p", "reward_model": "r"}}[stage]
    return load(STAGES, {"stage": stage, **parents, **changes}, base=folder)


def test_a_class_of_ones_own_gets_the_defaults(tmp_path: Path) -> None:
    loss = loaded(tmp_path, "offline", loss="mine:Short").loss
    assert (loss.needs, loss.separable, loss.takes, loss.prompts) == (frozenset(), True, "pairs", ())
    advantage = loaded(tmp_path, "online", advantage="mine:Advantage").advantage
    assert (advantage.needs, advantage.minimum_samples, advantage.minimum_batch) == (frozenset(), 1, 1)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("Forgetful", "has state (init), so it must say separable = False"),
        ("Many", "has prompts of its own, so it must say separable = False"),
        ("Dense", "needs logits, so it must be separable: the logits of a whole batch do not fit in memory"),
        (
            "Wrong",
            "lacks reward(scores); __call__ is called with (scores), but takes (); needs must be a frozenset of words "
            "among 'reference', 'mismatched', 'logits', got [\"refrence\"]; takes must be one of 'pairs', 'rankings', "
            'got "triples"',
        ),
    ],
)
def test_a_loss_of_ones_own_that_no_loop_can_run_is_refused_with_all_that_it_breaks(
    name: str, what: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, "offline", loss=f"mine:{name}")
    where = "(overopt.objectives.contracts.PreferenceLossProtocol says what such a class has)"
    assert error.value.problems == [f"loss: '{tmp_path}/mine.py:{name}' {what} {where}"]


def test_a_regularizer_of_ones_own_needs_a_coefficient(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, "online", regularizers=["mine:Bonus"])
    assert "lacks coef; __call__ is called with (rollouts, coef), but takes (rollouts)" in str(error.value)

"""The legend explains everything that runs write, and runs write everything that the legend promises."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from overopt.records import load_run
from overopt.records.layout import JUDGEMENT_COLUMNS, SAMPLE_COLUMNS
from overopt.records.legend import (
    EVALUATIONS,
    JUDGEMENTS,
    METRICS,
    PAIR_EVALUATIONS,
    SAMPLES,
    meaning,
    violations,
)

if TYPE_CHECKING:
    from tiny import Chain


def check(path: Path) -> list[str]:
    run = load_run(path)
    return violations(str(run.stage), run.iter_metrics(), run.evaluations())


@pytest.mark.parametrize("parent", ["policy", "reward_model"])
def test_the_stages_that_come_first(chain: Chain, parent: str) -> None:
    assert check(getattr(chain, parent)) == []


@pytest.mark.parametrize(
    "changes",
    [
        {
            "regularizers": [{"name": "kl", "coef": "adaptive_kl"}],
            "loss_regularizers": [{"name": "k2", "coef": "linear"}],
        },
        {"reward_model": None},
    ],
    ids=["with everything", "without a reward model"],
)
def test_an_online_run(chain: Chain, tmp_path: Path, changes: dict[str, Any]) -> None:
    import tiny

    from overopt.training.train import train

    train(tiny.online(chain, total_episodes=8, **changes), tmp_path / "run")
    assert check(tmp_path / "run") == []
    names = next(iter(load_run(tmp_path / "run").iter_metrics()))
    assert ("coef_0" in names and "loss_coef_0" in names and "loss/k2" in names) == ("loss_regularizers" in changes)
    assert ("score_mean" in names) == ("reward_model" not in changes)


def test_an_offline_run(chain: Chain, tmp_path: Path) -> None:
    import tiny

    from overopt.training.train import train

    train(tiny.offline(chain, steps=1, checkpoint_every=1), tmp_path / "run")
    assert check(tmp_path / "run") == []


def test_what_is_missing_and_what_is_unknown_is_named() -> None:
    row = {"step": 3, "loss": 1.0, "lr": 1e-3, "speed": 2.0, "kl_ref": 1.0}
    assert violations("sft", [row], []) == [
        "step 3: grad_norm is missing",
        "step 3: speed has no meaning in stage sft",
        "step 3: kl_ref has no meaning in stage sft",
    ]
    pairs = {"step": 0, "split": "tuning", "judge": "pairs", "n": 4, "accuracy": 0.5}
    assert violations("offline", [], [pairs | {"loss": 1.0}]) == ["step 0: margin is missing"]
    assert "step 0: loss has no meaning in stage reward_model" in violations(
        "reward_model", [], [pairs | {"loss": 1.0}]
    )
    assert "step 0: prompt_set is missing" in violations("sft", [], [pairs | {"judge": "gold"}])


def test_names_with_a_part_of_their_own() -> None:
    assert meaning("coef_12", METRICS) is METRICS["coef_I"]
    assert meaning("loss/token_entropy#2", METRICS) is METRICS["loss/NAME"]
    assert meaning("reward/my_fn", METRICS) is METRICS["reward/NAME"]
    assert meaning("coef_x", METRICS) is None
    assert meaning("loss", METRICS) is METRICS["loss"]


def test_samples_and_judgements_have_the_columns_that_are_written() -> None:
    assert set(SAMPLES) == set(SAMPLE_COLUMNS)
    assert set(JUDGEMENTS) == set(JUDGEMENT_COLUMNS)


def test_every_entry_says_something() -> None:
    for legend in (METRICS, EVALUATIONS, PAIR_EVALUATIONS):
        assert all(entry.text and entry.stages for entry in legend.values())

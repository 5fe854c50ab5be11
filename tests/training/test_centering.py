from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from tiny import Chain
from transformers import AutoModelForSequenceClassification

from overopt.engine.memory import TokenBudget
from overopt.errors import UserError
from overopt.evaluation.completions import set_recorded_mean
from overopt.models.load import load_reward_model
from overopt.models.reward_model import RewardModel
from overopt.models.scorer import Scorer
from overopt.models.text import Codec
from overopt.records import load_run
from overopt.tasks import Miniature
from overopt.training import centering
from overopt.training.centering import Demonstrations, Recorded, Uncentered, center
from overopt.training.data import Limits
from overopt.training.train import train
from overopt.types import Dropped, PromptRecord

CPU = torch.device("cpu")
LIMITS = Limits(512, 24)
TASK = Miniature(demonstration_count=30)


@pytest.fixture
def hub_model(tmp_path: Path) -> Path:
    """A classifier as transformers saves it, far from centered, and with nothing of ours in its configuration."""
    policy = tiny.policy()
    policy.model.config.num_labels = 1
    torch.manual_seed(5)
    model = AutoModelForSequenceClassification.from_config(policy.model.config)
    torch.nn.init.normal_(model.score.weight)
    model.save_pretrained(tmp_path / "hub")
    policy.tokenizer.save_pretrained(tmp_path / "hub")
    return tmp_path / "hub"


def demonstrations() -> list[PromptRecord]:
    return TASK.demonstrations(0, Dropped())


@torch.no_grad()
def plain_scores(folder: Path, records: list[PromptRecord]) -> torch.Tensor:
    """What plain transformers says of each demonstration, which ends in EOS."""
    model, codec = AutoModelForSequenceClassification.from_pretrained(folder), Codec(tiny.policy().tokenizer, "raw")
    texts = [[*codec.tokenizer(f"{r.prompt} {r.reference}").input_ids, codec.end_id] for r in records]
    return torch.cat([model(torch.tensor([ids])).logits[0] for ids in texts])


def centered(folder: Path, choice: Any, known: dict[str, Any] | None = None) -> tuple[RewardModel, dict[str, float]]:
    model = load_reward_model(folder, CPU)
    codec = Codec(tiny.policy().tokenizer, "raw")
    told = center(choice, Scorer(model, codec), demonstrations, codec, LIMITS, TokenBudget(1000), known or {})
    return model, told


def test_demonstrations_score_zero_on_average(hub_model: Path) -> None:
    model, told = centered(hub_model, Demonstrations())
    expected = float(plain_scores(hub_model, demonstrations()).mean())
    assert abs(expected) > 0.2
    assert model.mean == pytest.approx(expected, abs=1e-5)
    assert told == {"reward_mean": model.mean, "reward_scale": 1.0}
    assert model.normalized


def test_a_part_of_them_is_the_same_whatever_their_order(hub_model: Path) -> None:
    model, _ = centered(hub_model, Demonstrations(records=4))
    codec, turned = Codec(tiny.policy().tokenizer, "raw"), load_reward_model(hub_model, CPU)
    backwards = lambda: demonstrations()[::-1]  # noqa: E731
    center(Demonstrations(records=4), Scorer(turned, codec), backwards, codec, LIMITS, TokenBudget(1000), {})
    assert turned.mean == pytest.approx(model.mean, abs=1e-5)
    whole, _ = centered(hub_model, Demonstrations())
    assert abs(whole.mean - model.mean) > 1e-4


def test_a_recorded_scale_stays(hub_model: Path) -> None:
    config = json.loads((hub_model / "config.json").read_text())
    (hub_model / "config.json").write_text(json.dumps(config | {"reward_mean": 7.0, "reward_scale": 4.0}))
    model, told = centered(hub_model, Demonstrations())
    assert model.mean == pytest.approx(float(plain_scores(hub_model, demonstrations()).mean()), abs=1e-4)
    assert (model.scale, told["reward_scale"]) == (4.0, 4.0)
    model, told = centered(hub_model, Recorded())
    assert (model.mean, model.scale, told) == (7.0, 4.0, {})
    model, told = centered(hub_model, Uncentered())
    assert (model.mean, model.scale, model.normalized) == (0.0, 1.0, False)
    assert told == {"reward_mean": 0.0, "reward_scale": 1.0}


def test_what_a_run_knows_is_not_measured_again(hub_model: Path) -> None:
    model, told = centered(hub_model, Demonstrations(), {"reward_mean": -2.5, "reward_scale": 1.0})
    assert (model.mean, told) == (-2.5, {"reward_mean": -2.5, "reward_scale": 1.0})


def test_demonstrations_that_are_all_too_long_are_said(hub_model: Path) -> None:
    codec = Codec(tiny.policy().tokenizer, "raw")
    scorer = Scorer(load_reward_model(hub_model, CPU), codec)
    with pytest.raises(UserError, match="centering: demonstrations: none of the task's 30 demonstrations fits"):
        center(Demonstrations(), scorer, demonstrations, codec, Limits(512, 1), TokenBudget(1000), {})


def test_a_run_records_the_mean_and_keeps_it_when_it_goes_on(hub_model: Path, chain: Chain, tmp_path: Path) -> None:
    settings = tiny.online(chain, reward_model=str(hub_model))
    with pytest.raises(UserError, match="missing_eos: .* set centering: demonstrations, or missing_eos: {name: sub"):
        train(settings, tmp_path / "refused")
    with pytest.raises(UserError, match="missing_eos: "):
        train(settings | {"centering": "none"}, tmp_path / "refused")
    run = train(settings | {"centering": {"name": "demonstrations", "records": 50}}, tmp_path / "run")
    record = next(parent for parent in run.info["parents"] if parent["role"] == "reward_model")
    assert record["reward_scale"] == 1.0 and abs(record["reward_mean"]) > 0.1
    raw = train(settings | {"centering": "none", "missing_eos": "keep"}, tmp_path / "raw")
    first, second = (next(iter(r.iter_metrics())) for r in (run, raw))
    assert second["score_mean"] - first["score_mean"] == pytest.approx(record["reward_mean"], abs=1e-4)
    again = load_reward_model(hub_model, CPU)
    set_recorded_mean(load_run(run.path), again)
    assert (again.mean, again.scale) == (record["reward_mean"], 1.0)


def test_an_interrupted_run_goes_on_with_its_mean(
    hub_model: Path, chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny.online(chain, reward_model=str(hub_model), checkpoint_every=1, centering="demonstrations")
    whole = train(settings, tmp_path / "whole")

    def interrupt(now: Any) -> None:
        if now.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "cut", progress=interrupt)
    monkeypatch.delattr(centering, "_mean")
    cut = train(settings, tmp_path / "cut")
    assert tiny.metrics(cut) == tiny.metrics(whole)
    assert tiny.same_weights(cut, whole)

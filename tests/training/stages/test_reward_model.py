from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import tiny
import torch
import torch.nn.functional as F
from tiny import Chain
from transformers import AutoModelForSequenceClassification

from overopt.engine.packing import Tree, pack
from overopt.errors import UserError
from overopt.models.load import load_policy, load_reward_model
from overopt.models.reward_model import RewardModel
from overopt.models.text import Codec
from overopt.objectives.reward_losses import BradleyTerry, PlackettLuce
from overopt.records import load_run
from overopt.stopping.history import RecordedHistory
from overopt.tasks import Miniature
from overopt.tasks.miniature import SLOTS
from overopt.training.data import Limits, encode_demonstrations, encode_preferences
from overopt.training.pairs import from_row
from overopt.training.stages import reward_model
from overopt.training.train import train
from overopt.types import Dropped, Preference

CPU = torch.device("cpu")


@pytest.mark.parametrize("token_budget", [1, 1000])
def test_the_loss_is_bradley_terry(token_budget: int) -> None:
    def fresh() -> RewardModel:
        return RewardModel.from_policy(tiny.policy(), torch.Generator().manual_seed(0))

    direct, model = fresh(), fresh()
    scores = direct.score(pack(tiny.TREES)).view(3, 2)
    expected = -F.logsigmoid(scores[:, 0] - scores[:, 1]).mean()
    expected.backward()
    loss, accuracy = reward_model.descend(model, BradleyTerry(), tiny.TREES, token_budget)
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    assert accuracy == pytest.approx(float((scores[:, 0] > scores[:, 1]).float().mean()))
    torch.testing.assert_close(model.head.weight.grad, direct.head.weight.grad, atol=1e-6, rtol=1e-4)


def test_the_loss_of_rankings_is_plackett_luce() -> None:
    trees = [Tree(tree.prompt, [*tree.completions, [35, 1]]) for tree in tiny.TREES]

    def fresh() -> RewardModel:
        return RewardModel.from_policy(tiny.policy(), torch.Generator().manual_seed(0))

    score_PK = fresh().score(pack(trees)).view(3, 3)
    by_hand = -(score_PK.log_softmax(1)[:, 0] + score_PK[:, 1:].log_softmax(1)[:, 0]).mean()
    loss, accuracy = reward_model.descend(fresh(), PlackettLuce(), trees, 30)
    assert loss == pytest.approx(float(by_hand.detach()), rel=1e-5)
    assert accuracy == pytest.approx(float((reward_model.gaps(score_PK) > 0).float().mean()))


def test_equal_scores_of_a_pair_are_half_right_in_training_and_held_out() -> None:
    model = RewardModel.from_policy(tiny.policy(), torch.Generator().manual_seed(0))
    twins = [Tree(tree.prompt, [tree.completions[0]] * 2) for tree in tiny.TREES]
    _, accuracy = reward_model.descend(model, BradleyTerry(), twins, 30)
    assert accuracy == 0.5


def test_the_last_row_is_what_the_heldout_pairs_say(chain: Chain) -> None:
    run = load_run(chain.reward_model)
    model = load_reward_model(run.checkpoint(), CPU)
    pairs = [from_row(row) for row in run.pairs() if row["heldout"]]
    trees = encode_preferences(Codec(model.tokenizer, "raw"), pairs, Limits(512, 24), Dropped())
    scores = model.score_trees(trees, 1000).view(-1, 2).double()
    gap = scores[:, 0] - scores[:, 1]
    gold = torch.tensor([p.meta["gold_chosen"] - p.meta["gold_rejected"] for p in pairs]).double()
    clear = gold != 0
    ceiling = sum(1 / (1 + math.exp(-2.0 * abs(g))) for g in gold[clear].tolist()) / int(clear.sum())
    row = run.evaluations()[-1]
    assert row["n"] == 32
    assert row["accuracy"] == pytest.approx(float((gap > 0).double().mean()))
    assert row["margin"] == pytest.approx(float(gap.mean()), abs=1e-4)
    assert row["gold_agreement"] == pytest.approx(float((gap * gold > 0)[clear].double().mean()))
    assert row["label_ceiling"] == pytest.approx(ceiling)
    assert row["agreement_ratio"] == pytest.approx(row["gold_agreement"] / row["label_ceiling"])
    assert [r["step"] for r in run.evaluations()] == [0, 4]
    # characters, counted here; which way is better the training pairs say
    labelled = [from_row(row) for row in run.pairs() if not row["heldout"]]
    longer = [len(p.chosen.text) - len(p.rejected.text) for p in labelled]
    way = 1 if sum(d > 0 for d in longer) >= sum(d < 0 for d in longer) else -1
    held = torch.tensor([way * (len(p.chosen.text) - len(p.rejected.text)) for p in pairs]).double()
    right = ((held.sign() * gold.sign() + 1) / 2)[clear]
    assert row["baseline_length_agreement"] == pytest.approx(float(right.mean()))
    better = ((gap.sign() * gold.sign() + 1) / 2)[clear] - right
    z = float(better.mean() / (better.std(correction=0) / math.sqrt(len(better))))
    assert row["above_baselines"] <= z + 1e-9
    assert row["above_baselines"] == pytest.approx(row["baseline_difference"] / row["baseline_difference_se"])


def test_golden_values(short_chain: Chain) -> None:
    assert load_run(short_chain.reward_model).series("loss")[1] == pytest.approx(
        [0.584689, 1.02796, 0.747643, 0.996304], rel=1e-3
    )


def test_standardized_scores(chain: Chain) -> None:
    row = load_run(chain.reward_model).evaluations()[-1]
    assert row["score_mean"] == pytest.approx(0, abs=1e-4)
    assert row["score_sd"] == pytest.approx(1, abs=1e-4)


def test_centered_scores(chain: Chain, tmp_path: Path) -> None:
    run = train(tiny.reward_model(chain, normalization="center"), tmp_path / "run")
    model = load_reward_model(run.checkpoint(), CPU)
    task = Miniature(demonstration_count=256)
    codec = Codec(model.tokenizer, "raw")
    trees = encode_demonstrations(codec, task.demonstrations(0, Dropped()), Limits(512, 24), Dropped())
    assert float(model.score_trees(trees, 65_536).mean()) == pytest.approx(0, abs=1e-5)
    assert model.scale == 1.0


def test_the_steps_do_not_depend_on_the_normalization(chain: Chain, tmp_path: Path) -> None:
    run = train(tiny.reward_model(chain, normalization="none", checkpoint_every=1), tmp_path / "run")
    model = load_reward_model(run.checkpoint(), CPU)
    assert (model.mean, model.scale) == (0.0, 1.0)
    assert tiny.metrics(run) == tiny.metrics(load_run(chain.reward_model))
    assert tiny.same_weights(run, load_run(chain.reward_model))
    assert run.checkpoints() == [1, 2, 3, 4]


def raw_scores(folder: Path, pairs: list[Preference]) -> torch.Tensor:
    """By plain transformers, of every completion alone."""
    plain = AutoModelForSequenceClassification.from_pretrained(folder)
    model = load_reward_model(folder, CPU)
    trees = encode_preferences(Codec(model.tokenizer, "raw"), pairs, Limits(512, 24), Dropped())
    rows = [[*tree.prompt, *completion] for tree in trees for completion in tree.completions]
    with torch.no_grad():
        return torch.cat([plain(torch.tensor([row])).logits[:, 0] for row in rows]).double()


@pytest.mark.parametrize("keep", ["every", "best", "last"])
def test_every_checkpoint_is_normalized_by_its_own_scores(chain: Chain, tmp_path: Path, keep: str) -> None:
    run = train(tiny.reward_model(chain, checkpoint_every=1, keep=keep), tmp_path / "run")
    assert tiny.metrics(run) == tiny.metrics(load_run(chain.reward_model))  # which is normalized at its end alone
    assert run.checkpoints() == [1, 2, 3, 4] if keep == "every" else len(run.checkpoints()) == 1
    pairs = [from_row(row) for row in run.pairs() if row["heldout"]]
    for step in run.checkpoints():
        scores = raw_scores(run.checkpoint(step), pairs)
        config = json.loads((run.checkpoint(step) / "config.json").read_text())
        assert config["reward_mean"] == pytest.approx(float(scores.mean()), abs=1e-5)
        assert config["reward_scale"] == pytest.approx(float(scores.std()), rel=1e-4)
    rows = [row for row in run.evaluations() if row["step"] in run.checkpoints()]
    assert all(abs(row["score_mean"]) < 1e-5 and abs(row["score_sd"] - 1) < 1e-4 for row in rows)


def test_one_that_was_stopped_in_time_is_normalized_and_trains_a_child(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RecordedHistory, "best_step", lambda history: history.step)  # so few steps need not help
    stop = {"name": "wall_time", "hours": 1e-9, "patience": 2}
    run = train(tiny.reward_model(chain, checkpoint_every=1, stop_when=[stop]), tmp_path / "reward")
    assert run.status == "stopped" and run.info["stopped_at"] == 2 and run.checkpoints() == [1, 2]
    pairs = [from_row(row) for row in run.pairs() if row["heldout"]]
    scores = raw_scores(run.checkpoint(), pairs)
    child = train(tiny.online(chain, reward_model=str(run.path), total_episodes=8), tmp_path / "child")
    assert child.config["missing_eos"] == {"name": "replace", "value": -1.0}  # which takes scores that are centered
    model = load_reward_model(run.checkpoint(), CPU)
    assert model.normalized and model.mean == pytest.approx(float(scores.mean()), abs=1e-5)


def test_its_checkpoint_is_an_ordinary_folder(chain: Chain) -> None:
    folder = load_run(chain.reward_model).checkpoint()
    _, report = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]


def test_stored_pairs_of_a_task_without_gold(chain: Chain, tmp_path: Path) -> None:
    prompts = [f"my {w} sold my" for w in SLOTS["WHO"]]
    records = [{"prompt": p, "chosen": "car", "rejected": "dog dog"} for p in prompts]
    task = {"name": "local", "path": str(tiny.write_jsonl(tmp_path / "pairs.jsonl", records)), "holdout": 0.4}
    config = tiny.reward_model(chain, task=task, pairs="task", batch_size=2, epochs=8, lr=2e-2)
    run = train(config, tmp_path / "run")
    row = run.evaluations()[-1]
    assert row["accuracy"] == 1.0 and row["margin"] > 0
    assert "gold_agreement" not in row
    assert (row["baseline_length_agreement"], row["above_baselines"]) == (1.0, 0.0), "the shorter is the better"
    assert not (run.path / "pairs.jsonl.gz").exists()
    with pytest.raises(UserError, match="pairs: .* use pairs: task"):
        train(tiny.reward_model(chain, task=task), tmp_path / "other")


def test_bad_input_leaves_nothing_behind(chain: Chain, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for changes, message in [
        ({"batch_size": 65}, "batch_size: a batch needs 65 records, but there are 64 to train on"),
        ({"policy": str(chain.reward_model)}, "policy: .* is a run of stage reward_model; needed: .*sft"),
        ({"policy": str(tmp_path / "nowhere")}, "policy: .*nowhere is neither a run directory nor"),
        ({"pairs": "task"}, "pairs: the miniature task stores no preference pairs"),
        ({"task": tiny.TASK | {"reward_test_count": 1}}, "standardize needs at least 2"),
        ({"normalization": "whiten"}, "normalization: .*center"),
    ]:
        with pytest.raises(UserError, match=message):
            train(tiny.reward_model(chain, **changes), out)
        assert not out.exists()


def test_scores_that_tie_are_half_right(chain: Chain, tmp_path: Path) -> None:
    """A policy whose last norm gives 0 everywhere: before the first step each score is the same, bit by bit."""
    policy = load_policy(load_run(chain.policy).checkpoint(), CPU)
    with torch.no_grad():
        for parameter in policy.model.gpt_neox.final_layer_norm.parameters():
            parameter.zero_()
    policy.save(tmp_path / "policy")
    config = tiny.reward_model(chain, policy=str(tmp_path / "policy"), normalization="none", checkpoint_every=1)
    run = train(config, tmp_path / "run")
    before, first = run.evaluations()[0], tiny.rows(run)[0]
    assert (before["step"], before["accuracy"], before["margin"]) == (0, 0.5, 0.0)
    assert before["gold_agreement"] == 0.5
    assert first["loss"] == pytest.approx(math.log(2))
    assert first["rewards_acc"] == 0.5


def test_scores_are_centered_on_the_demonstrations_of_the_run_s_own_seed(chain: Chain, tmp_path: Path) -> None:
    run = train(tiny.reward_model(chain, normalization="center", seed=1), tmp_path / "run")
    model = load_reward_model(run.checkpoint(), CPU)
    codec = Codec(model.tokenizer, "raw")

    def mean_score(seed: int) -> float:
        records = Miniature(demonstration_count=256).demonstrations(seed, Dropped())
        trees = encode_demonstrations(codec, records, Limits(512, 24), Dropped())
        return float(model.score_trees(trees, 65_536).mean())

    assert mean_score(1) == pytest.approx(0, abs=1e-5)
    assert abs(mean_score(0)) > 1e-3

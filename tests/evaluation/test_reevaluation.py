from __future__ import annotations

import json
import shutil
from pathlib import Path

import foreign
import pytest
import tiny
from tiny import Chain
from transformers import AutoTokenizer

from overopt.errors import UserError
from overopt.evaluation.reevaluation import evaluate_run
from overopt.models.text import word_tokenizer
from overopt.records import Run, load_run
from overopt.training.train import train


@pytest.fixture(scope="module")
def trained(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(tiny.online(chain, checkpoint_every=2), tmp_path_factory.mktemp("later") / "run")


@pytest.fixture
def run(trained: Run, tmp_path: Path) -> Run:
    return load_run(shutil.copytree(trained.path, tmp_path / "run"))


def test_evaluating_again_says_the_same(run: Run) -> None:
    told: list[tuple[int, int]] = []
    rows = evaluate_run(run.path, progress=lambda done, total: told.append((done, total)))
    own = [row for row in run.evaluations() if row["judge"] == "gold"]
    assert [row["step"] for row in rows] == [row["step"] for row in own] == [0, 2, 3]
    for again, first in zip(rows, own, strict=True):
        assert again.keys() == first.keys()
        for name, value in first.items():
            assert again[name] == value if isinstance(value, str | int) else tiny.close(again[name], value), name
    assert told == [(0, 3), (1, 3), (2, 3)]
    assert (run.path / "evaluations" / "gold.jsonl").is_file()


def test_the_reward_model_judges_beside_gold(run: Run) -> None:
    before = {row["prompt_id"]: row for row in run.samples(3)}
    rows = evaluate_run(run.path, judge="reward_model")
    assert {row["judge"] for row in rows} == {"reward_model"}
    assert len(run.evaluations("reward_model")) == 3
    samples = run.samples(3)
    gold = {row["prompt_id"]: row for row in samples if row["judge"] == "gold"}
    assert gold == before  # one judge's rows never replace another's
    proxy = [row["outcome"] for row in samples if row["judge"] == "reward_model"]
    assert sum(proxy) / len(proxy) == pytest.approx(rows[-1]["win_rate"])


def test_another_split(run: Run) -> None:
    rows = evaluate_run(run.path, split="test")
    assert {row["split"] for row in rows} == {"test"}
    assert rows[0]["prompt_set"] != run.evaluations()[0]["prompt_set"]
    assert rows[0]["win_difference"] == 0


def test_prompts_longer_than_the_limit_stay_out(chain: Chain, tmp_path: Path) -> None:
    run = train(tiny.sft(steps=1, checkpoint_every=1, max_prompt_tokens=25), tmp_path / "run")
    assert 0 < run.evaluations()[0]["n"] < 16
    assert evaluate_run(run.path)[0]["prompt_set"] == run.evaluations()[0]["prompt_set"]


def test_kl_is_measured_against_the_run_s_reference(chain: Chain, tmp_path: Path) -> None:
    train(tiny.sft(seed=1), tmp_path / "other")
    config = tiny.offline(chain, reference=str(tmp_path / "other"), steps=1, checkpoint_every=1)
    run = train(config, tmp_path / "run")
    own = [row["kl_ref"] for row in run.evaluations("gold")]
    assert own[0] > 0.1
    assert [row["kl_ref"] for row in evaluate_run(run.path)] == pytest.approx(own, rel=1e-3)


def test_a_run_that_was_moved_alone_finds_its_parents_where_they_were(run: Run, chain: Chain, tmp_path: Path) -> None:
    rows = evaluate_run(run.path)
    moved = load_run(shutil.copytree(run.path, tmp_path / "a" / "deeper" / "place"))
    assert evaluate_run(moved.path) == rows
    info = json.loads((moved.path / "run.json").read_text())
    other = [parent | {"hash": "0" * 64} for parent in info["parents"]]
    (moved.path / "run.json").write_text(json.dumps(info | {"parents": other}))
    with pytest.raises(UserError, match="its policy .* is gone, which the evaluation needs"):
        evaluate_run(moved.path)


def test_an_sft_run_has_no_reference(chain: Chain, tmp_path: Path) -> None:
    path = shutil.copytree(chain.policy, tmp_path / "sft")
    (row,) = evaluate_run(path)
    assert row["step"] == 60
    assert "kl_ref" not in row


@pytest.mark.parametrize("style", ["raw", "chat_template"])
def test_a_foreign_reward_model_s_proxy_is_what_transformers_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], style: str
) -> None:
    foreign.save_policy(tmp_path / "policy", foreign.policys())
    foreign.save_reward_model(tmp_path / "reward", foreign.reward_models())
    pairs = foreign.write_pairs(tmp_path / "pairs.jsonl")
    task = {"name": "local", "path": str(pairs), "prompt_style": style, "holdout": 0.4}
    chain = Chain(tmp_path / "policy", tmp_path / "reward")
    changes = {"missing_eos": "keep", "max_completion_tokens": 6, "total_episodes": 8}
    run = train(tiny.online(chain, task=task, **changes), tmp_path / "run")
    said = capsys.readouterr().err
    assert f"{chain.reward_model} has a tokenizer of its own" in said and str(chain.policy) not in said
    plain = foreign.Plain.load(chain.reward_model)
    ask = plain.raw if style == "raw" else plain.chat
    own = [sample for step in (0, 1) for sample in run.samples(step)]
    evaluate_run(run.path, judge="reward_model")
    assert "has a tokenizer of its own" in capsys.readouterr().err
    later = [sample for step in (0, 1) for sample in run.samples(step) if sample["judge"] == "reward_model"]
    assert len(own) == len(later) >= 16
    for sample in own + later:
        expected = ask(sample["prompt"], sample["completion"], sample["ended"])
        assert sample["proxy"] == pytest.approx(expected, abs=1e-5)
    for sample in later:
        better = sample["proxy"] - ask(sample["prompt"], sample["reference"], True)
        assert sample["outcome"] == (1.0 if better > 0 else 0.0)


def test_a_checkpoint_whose_tokenizer_was_changed_is_refused(run: Run, tmp_path: Path) -> None:
    folder = run.checkpoint(2)
    vocabulary = AutoTokenizer.from_pretrained(folder).get_vocab()
    words = sorted(vocabulary, key=lambda word: vocabulary[word])
    word_tokenizer([*words[:2], *words[:1:-1]]).save_pretrained(folder)
    with pytest.raises(UserError, match="step-2: does not share the vocabulary .*; was its tokenizer changed since"):
        evaluate_run(run.path)


def test_what_cannot_be_evaluated_is_said(chain: Chain, run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a reward model writes no completions; evaluate a policy's run"):
        evaluate_run(chain.reward_model)
    with pytest.raises(UserError, match="names no reward model to judge with; use --judge gold"):
        evaluate_run(chain.policy, judge="reward_model")
    with pytest.raises(UserError, match="not a run directory"):
        evaluate_run(tmp_path)
    shutil.rmtree(run.path / "checkpoints")
    with pytest.raises(UserError, match="has kept no checkpoint to evaluate"):
        evaluate_run(run.path)

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny import Chain
from transformers import AutoTokenizer

from overopt.errors import UserError
from overopt.evaluation import completions as completions_module
from overopt.evaluation.completions import KEPT, Completions, Settings, parent, parent_location
from overopt.models.text import word_tokenizer
from overopt.records import Run, RunWriter, load_run
from overopt.training.train import train


@pytest.fixture(scope="module")
def trained(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(tiny.online(chain, checkpoint_every=2, keep="last"), tmp_path_factory.mktemp("completions") / "run")


@pytest.fixture
def run(trained: Run, tmp_path: Path) -> Run:
    return load_run(shutil.copytree(trained.path, tmp_path / "run"))


def completions(run: Run, seed: int = 0) -> Completions:
    return Completions(run, Settings.of(run), seed, pytest.fail)


def test_recorded_completions_are_used_as_they_are(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions_module, "load_policy", lambda *arguments: pytest.fail("loaded"))
    shutil.rmtree(run.path / "checkpoints")
    found = completions(run)
    assert (found.limit, found.split, found.steps(24)) == (24, "tuning", [0, 2, 3])
    own = run.evaluations("gold")
    assert found.prompt_set == own[0]["prompt_set"]
    for row in own:
        completed = found.get(row["step"], 24)
        assert completed.samples == [{name: one[name] for name in KEPT} for one in run.samples(row["step"])]
        assert completed.measured == {
            name: row[name] for name in ("kl_ref", "ref_summary_logp_sum", "ref_summary_logp_mean")
        }
        assert not completed.is_new


def test_a_checkpoint_writes_what_the_run_recorded_of_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {step: completions(run).get(step, 24) for step in (0, 3)}
    shutil.rmtree(run.path / "samples")
    found = completions(run)
    assert found.steps(24) == [0, 3]
    assert found.prompt_set == run.evaluations()[0]["prompt_set"]
    for step in found.steps(24):
        again = found.get(step, 24)
        assert again.is_new
        for one, first in zip(again.samples, before[step].samples, strict=True):
            assert one["prompt_id"] == first["prompt_id"] and one["completion"] == first["completion"]
            assert all(tiny.close(one[name], first[name]) for name in ("proxy", "gold", "length", "logp"))
        assert all(tiny.close(value, before[step].measured[name]) for name, value in again.measured.items())
        assert again.measured.keys() == before[step].measured.keys()


def test_completions_of_posts_that_were_cut_are_used_as_they_were_recorded(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completions_module, "load_policy", lambda *arguments: pytest.fail("loaded"))
    prompt_set = run.evaluations("gold")[0]["prompt_set"]
    settings = Settings.of(run)
    evaluation = type(settings.task).evaluation

    def longer(self: Any, *arguments: Any) -> Any:
        split, records = evaluation(self, *arguments)
        sizes = [len(record.prompt) for record in records]
        longer = [
            replace(r, prompt=f"{r.prompt} more", cuttable=(n, n + 5)) for r, n in zip(records, sizes, strict=True)
        ]
        return split, longer

    monkeypatch.setattr(type(settings.task), "evaluation", longer)
    found = Completions(run, settings, 0, pytest.fail)
    assert (found.prompt_set, found.steps(24)) == (prompt_set, [0, 2, 3])
    assert not found.get(3, 24).is_new
    assert not any(record.prompt.endswith("more") or record.cuttable for record in found.records)


def test_completions_of_another_limit_serve_if_it_would_cut_none(run: Run) -> None:
    with RunWriter.open(run.path) as writer:
        for step in run.sample_steps():
            rows = run.samples(step)
            writer.write_samples(step, [row | {"ended": True, "length": 7 if step else 9} for row in rows])
    found = completions(run)
    assert [found._find(step, 8) is not None for step in (0, 2, 3)] == [False, True, True]
    assert [found._find(step, 9) is not None for step in (0, 2, 3)] == [True, True, True]
    assert found.get(2, 200).samples[0]["length"] == 7
    assert found.get(2, 200).measured == {}  # a sample of 200 tokens would be another
    with RunWriter.open(run.path) as writer:
        writer.write_samples(2, [run.samples(2)[0] | {"ended": False}])
    assert completions(run)._find(2, 200) is None


def test_the_completions_of_a_limit_are_those_that_were_recorded_under_it(run: Run) -> None:
    rows = run.samples(3)
    with RunWriter.open(run.path) as writer:
        writer.write_samples(3, [row | {"max_completion_tokens": 5, "completion": "so"} for row in rows])
    found = completions(run)
    assert {row["completion"] for row in found.get(3, 5).samples} == {"so"}
    assert [row["completion"] for row in found.get(3, 24).samples] == [row["completion"] for row in rows]


def test_completions_of_prompts_that_were_changed_do_not_serve(run: Run) -> None:
    assert run.checkpoints() == [3]
    with RunWriter.open(run.path) as writer:
        row = run.samples(2)[0]
        writer.write_samples(2, [row | {"prompt": row["prompt"] + " ."}])
    assert completions(run).steps(24) == [0, 3]
    with RunWriter.open(run.path) as writer:
        for step in run.sample_steps():
            writer.write_samples(step, [one | {"prompt": one["prompt"] + " ."} for one in run.samples(step)])
    found = completions(run)
    assert len(found.records) == 16 and found.get(3, 24).is_new


def test_a_step_with_some_prompts_missing_is_not_recorded(run: Run) -> None:
    file = run.path / "samples" / "step-2.parquet"
    rows = run.samples(2)
    file.unlink()
    with RunWriter.open(run.path) as writer:
        writer.write_samples(2, rows[1:])
    found = completions(run)
    assert (found._find(2, 24), found._find(3, 24) is not None) == (None, True)


def test_prompts_longer_than_the_limit_stay_out(chain: Chain, tmp_path: Path) -> None:
    run = train(tiny.sft(steps=1, checkpoint_every=1, max_prompt_tokens=25), tmp_path / "run")
    assert 0 < run.evaluations()[0]["n"] < 16
    assert completions(run).prompt_set == run.evaluations()[0]["prompt_set"]
    shutil.rmtree(run.path / "samples")
    assert completions(run).prompt_set == run.evaluations()[0]["prompt_set"]


def test_kl_is_measured_against_the_run_s_reference(chain: Chain, tmp_path: Path) -> None:
    train(tiny.sft(seed=1), tmp_path / "other")
    config = tiny.offline(chain, reference=str(tmp_path / "other"), steps=1, checkpoint_every=1)
    run = train(config, tmp_path / "run")
    own = [row["kl_ref"] for row in run.evaluations("gold")]
    assert own[0] > 0.1
    shutil.rmtree(run.path / "samples")
    found = completions(run)
    assert [found.get(step, 24).measured["kl_ref"] for step in (0, 1)] == pytest.approx(own, rel=1e-3)


def test_a_run_that_was_moved_alone_finds_its_parents_where_they_were(run: Run, tmp_path: Path) -> None:
    moved = load_run(shutil.copytree(run.path, tmp_path / "a" / "deeper" / "place"))
    found, before = parent(moved, "policy"), parent(run, "policy")
    assert found is not None and before is not None and found.resolve() == before.resolve()
    assert parent(run, "reference") is None
    info = json.loads((moved.path / "run.json").read_text())
    other = [one | {"hash": "0" * 64} for one in info["parents"]]
    (moved.path / "run.json").write_text(json.dumps(info | {"parents": other}))
    moved = load_run(moved.path)
    with pytest.raises(UserError, match="its policy .* is gone, which the evaluation needs"):
        parent(moved, "policy")
    location = parent_location(moved, "policy")
    assert location is not None and not location.exists()
    assert completions(moved).get(0, 24).samples  # the record is enough
    shutil.rmtree(moved.path / "samples")
    with pytest.raises(UserError, match="its policy .* is gone, which the evaluation needs"):
        completions(moved).get(3, 24)


def test_a_checkpoint_whose_tokenizer_was_changed_is_refused(run: Run) -> None:
    shutil.rmtree(run.path / "samples")
    folder = run.checkpoint(3)
    vocabulary = AutoTokenizer.from_pretrained(folder).get_vocab()
    words = sorted(vocabulary, key=lambda word: vocabulary[word])
    word_tokenizer([*words[:2], *words[:1:-1]]).save_pretrained(folder)
    with pytest.raises(UserError, match="step-3: does not share the vocabulary .*; was its tokenizer changed since"):
        completions(run).get(3, 24)


def test_a_limit_is_checked_against_all_models(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(run.path / "samples")
    checked: list[tuple[str, int, int]] = []
    monkeypatch.setattr(
        completions_module, "check_limits", lambda model, *limits: checked.append((type(model).__name__, *limits))
    )
    found = completions(run)
    assert found.get(3, 30).limit == 30
    assert {name for name, prompt, limit in checked if limit == 30} == {"Policy", "RewardModel"}
    assert [name for name, _, limit in checked if limit == 30].count("Policy") == 2  # the reference is one
    assert {prompt for _, prompt, _ in checked} == {run.setting("max_prompt_tokens", int)}


def test_settings_are_those_of_the_run(run: Run) -> None:
    settings: Any = Settings.of(run)
    assert settings.task.evaluation_count == 16 and settings.compute.threads == 1

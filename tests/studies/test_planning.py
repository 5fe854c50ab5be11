"""A plan is of one stage, of a study at a scale, or of every single run of a sweep."""

from __future__ import annotations

from pathlib import Path

import pytest

from overopt.errors import UserError
from overopt.studies.planning import missing_parents, stages_of, study_file

ROOT = Path(__file__).parents[2]
SWEEP = ROOT / "examples" / "sweeps" / "kl_strength.yaml"
DEMO = ROOT / "src" / "overopt" / "studies" / "demo.yaml"


def test_a_stage_takes_settings(tmp_path: Path) -> None:
    file = tmp_path / "sft.yaml"
    file.write_text("stage: sft\nmodel: {name: scratch}\n")
    stages = stages_of(file, overrides=[("steps", "9")])
    assert {name: stage.steps for name, stage in stages.items()} == {"sft": 9}


def test_a_study_has_scales() -> None:
    assert stages_of(DEMO, "xs").keys() == stages_of(DEMO, "m").keys() >= {"sft", "kl", "none"}
    assert stages_of(DEMO, "xs")["sft"].model.hidden_size < stages_of(DEMO, "m")["sft"].model.hidden_size


def test_every_run_of_a_sweep_is_planned() -> None:
    stages = stages_of(SWEEP)
    assert len(stages) == 4 + 2 * 3 * 2 + 2
    assert stages["kl-coef=0.2-lr=2e-5-seed=1"].regularizers[0].coef == 0.2


def test_a_study_of_the_package_is_planned_by_its_name_and_takes_what_lies_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = study_file(Path("maxent-failure-modes"))
    stages = stages_of(file, "pythia", only=["KL-1B"])
    assert list(stages) == ["SFT-1B-seed=110", "RM-1B-seed=110", "KL-1B-seed=110"]
    assert stages["SFT-1B-seed=110"].model.path == "hf://EleutherAI/pythia-1b-deduped"
    for folder, inputs in ((tmp_path / "big", tmp_path / "big"), (tmp_path, None)):
        copy = folder / "EleutherAI" / "pythia-1b-deduped"
        copy.mkdir(parents=True)
        moved = stages_of(file, "pythia", inputs=inputs, only=["SFT-1B"])
        assert moved["SFT-1B-seed=110"].model.path == str(copy)
    Path("maxent-failure-modes").mkdir()
    assert study_file(Path("maxent-failure-modes")) == Path("maxent-failure-modes"), "a path that exists is meant"
    assert study_file(Path("studies/demo")) == Path("studies/demo")


def test_a_file_in_another_encoding_is_refused_by_its_loader(tmp_path: Path) -> None:
    file = tmp_path / "sft.yaml"
    file.write_bytes("stage: sft\n".encode("utf-16"))
    with pytest.raises(UserError, match="sft.yaml: not a text file in UTF-8 .*; save it as UTF-8"):
        stages_of(file)


def test_what_does_not_fit_the_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "sft.yaml"
    file.write_text("stage: sft\nmodel: {name: scratch}\n")
    with pytest.raises(UserError, match="--scale: .*sft.yaml is one stage"):
        stages_of(file, "xs")
    with pytest.raises(UserError, match="--only: .*sft.yaml is one stage"):
        stages_of(file, only=["sft"])
    with pytest.raises(UserError, match="--lr: .*holds many runs"):
        stages_of(SWEEP, overrides=[("lr", "1")])


def test_parents_that_do_not_exist_yet_are_found_beside_the_file(tmp_path: Path) -> None:
    """By the name of the file, or as the only file of the stage of that name; parents of parents, too."""
    (tmp_path / "policy.yaml").write_text("stage: sft\nmodel: {name: scratch}\nsteps: 9\n")
    (tmp_path / "rm_small.yaml").write_text(
        "stage: reward_model\npolicy: out/policy\npairs: {name: sampled, count: 64}\n"
    )
    (tmp_path / "broken.yaml").write_bytes(b"\xff\xfe")
    file = tmp_path / "kl.yaml"
    file.write_text("stage: online\npolicy: out/policy\nreward_model: out/reward_model\n")
    parents = missing_parents(file, stages_of(file))
    assert {name: stage.stage for name, stage in parents.items()} == {"policy": "sft", "reward_model": "reward_model"}
    assert parents["policy"].steps == 9

    (tmp_path / "rm_large.yaml").write_text(
        "stage: reward_model\npolicy: out/policy\npairs: {name: sampled, count: 64}\n"
    )
    assert missing_parents(file, stages_of(file)).keys() == {"policy"}, "two candidates, so none is chosen"
    (tmp_path / "out" / "policy").mkdir(parents=True)
    assert missing_parents(file, stages_of(file)) == {}, "it exists: the plan reads it"

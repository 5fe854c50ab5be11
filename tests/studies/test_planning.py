"""A plan is of one stage, of a study at a scale, or of every single run of a sweep."""

from __future__ import annotations

from pathlib import Path

import pytest

from overopt.errors import UserError
from overopt.studies.planning import stages_of

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


def test_a_file_in_another_encoding_is_refused_by_its_loader(tmp_path: Path) -> None:
    file = tmp_path / "sft.yaml"
    file.write_bytes("stage: sft\n".encode("utf-16"))
    with pytest.raises(UserError, match="sft.yaml: not a text file in UTF-8 .*; save it as UTF-8"):
        stages_of(file)


def test_what_does_not_fit_the_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "sft.yaml"
    file.write_text("stage: sft\nmodel: {name: scratch}\n")
    with pytest.raises(UserError, match="only a study has scales"):
        stages_of(file, "xs")
    with pytest.raises(UserError, match="--lr: .*holds many runs"):
        stages_of(SWEEP, overrides=[("lr", "1")])

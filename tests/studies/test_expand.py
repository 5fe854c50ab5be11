"""From grids, lists and seeds to single runs with their own parents."""

from __future__ import annotations

from pathlib import Path

import pytest

from overopt.errors import ConfigError, UserError
from overopt.studies.expand import ExpandedStudy, expand
from overopt.studies.study import UNKNOWN_COST, Gate

TEXT = """\
costs: {sft: 7}
seeds: [0, 1]
grid:
  sft: {lr: [1e-3, 2e-3]}
  kl:
    regularizers.0.coef: [0.1, 0.2]
    policy: [runs/sft]
gates: [{run: sft, value: win_rate, at_least: 0.3}]
defaults:
  online: {policy: runs/sft, reward_model: runs/rm, lr: 1e-4, total_episodes: 6400}
runs:
  sft: {stage: sft, lr: 1e-3, steps: 5, model: {name: pretrained, path: models/base}}
  rm: {stage: reward_model, policy: runs/sft, lr: 1e-3}
  kl: {stage: online, regularizers: [{name: kl, coef: 0.2}]}
  none: {stage: online, regularizers: []}
"""


def study(tmp_path: Path, text: str = TEXT) -> ExpandedStudy:
    file = tmp_path / "sweep.yaml"
    file.write_text(text)
    return expand(file)


def test_parents_are_built_once_and_every_child_has_those_that_agree_with_it(tmp_path: Path) -> None:
    whole = study(tmp_path)
    assert whole.name == "sweep"
    sft = [run for run in whole.runs if run.startswith("sft")]
    assert sft == ["sft-lr=1e-3-seed=0", "sft-lr=1e-3-seed=1", "sft-lr=2e-3-seed=0", "sft-lr=2e-3-seed=1"]
    assert len([run for run in whole.runs if run.startswith("rm")]) == 4
    assert len([run for run in whole.runs if run.startswith("none")]) == 4
    assert len(whole.runs) == 4 + 4 + 4 + 4 * 2

    run = "kl-sft.lr=2e-3-coef=0.1-policy=sft-seed=1"
    assert whole.runs[run].parents == ("sft-lr=2e-3-seed=1", "rm-sft.lr=2e-3-seed=1")
    config = whole.runs[run].config
    assert (config["seed"], config["regularizers"], config["lr"]) == (1, [{"name": "kl", "coef": 0.1}], 1e-4)
    assert (config["policy"], config["reward_model"]) == ("runs/sft-lr=2e-3-seed=1", "runs/rm-sft.lr=2e-3-seed=1")
    assert whole.gates_before(run) == [Gate(run="sft-lr=2e-3-seed=1", value="win_rate", at_least=0.3)]


def test_configs_are_complete_and_paths_start_from_the_file(tmp_path: Path) -> None:
    runs = study(tmp_path).runs
    sft, child = runs["sft-lr=1e-3-seed=0"], runs["none-sft.lr=1e-3-seed=0"]
    assert sft.config["model"]["path"] == str(tmp_path / "models/base")
    moved = expand(tmp_path / "sweep.yaml", base=tmp_path / "elsewhere").runs["sft-lr=1e-3-seed=0"]
    assert moved.config["model"]["path"] == str(tmp_path / "elsewhere/models/base")
    assert child.config["policy"] == "runs/sft-lr=1e-3-seed=0"
    assert child.config["missing_eos"] == {"name": "replace", "value": -1.0}, "a default that the file leaves out"
    assert (sft.cost, child.cost) == (7.0, UNKNOWN_COST)


def test_children_may_have_seeds_of_their_own_and_share_their_parents(tmp_path: Path) -> None:
    text = TEXT.replace("seeds: [0, 1]\n", "").replace("  sft: {lr: [1e-3, 2e-3]}", "  online: {seed: [3, 4]}")
    whole = study(tmp_path, text.replace("policy: [runs/sft]", "lr: [1e-5]"))
    assert list(whole.runs) == [
        "sft", "rm", "kl-seed=3-coef=0.1-lr=1e-5", "kl-seed=3-coef=0.2-lr=1e-5", "kl-seed=4-coef=0.1-lr=1e-5",
        "kl-seed=4-coef=0.2-lr=1e-5", "none-seed=3", "none-seed=4",
    ]  # fmt: skip
    assert whole.runs["none-seed=4"].parents == ("sft", "rm")
    assert whole.runs["none-seed=4"].config["seed"] == 4


def test_a_grid_may_choose_the_parent(tmp_path: Path) -> None:
    text = TEXT.replace("policy: [runs/sft]", "policy: [runs/sft, runs/kept]").replace(
        "  rm: {", "  kept: {stage: sft, lr: 1e-3, steps: 5, model: {name: pretrained, path: models/base}}\n  rm: {"
    )
    whole = study(tmp_path, text.replace("  sft: {lr: [1e-3, 2e-3]}\n", "").replace("seeds: [0, 1]", "seeds: [1]"))
    assert whole.runs["kl-coef=0.1-policy=kept-seed=1"].parents == ("kept-seed=1", "rm-seed=1")
    assert whole.runs["kl-coef=0.1-policy=sft-seed=1"].parents == ("sft-seed=1", "rm-seed=1")


def test_a_pattern_chooses_runs_and_their_ancestors(tmp_path: Path) -> None:
    whole = study(tmp_path)
    assert [run.split("-")[0] for run in whole.matching(["none*seed=1"])] == ["sft", "sft", "rm", "rm", "none", "none"]
    with pytest.raises(UserError, match="--only nine: matches no run of sweep"):
        whole.matching(["nine"])


def test_gates_lie_before_descendants_only(tmp_path: Path) -> None:
    whole = study(tmp_path)
    assert whole.gates_before("sft-lr=1e-3-seed=0") == []
    (gate,) = whole.gates_before("none-sft.lr=1e-3-seed=0")
    assert (gate.name, gate.stops) == ("sft-lr=1e-3-seed=0.win_rate", True)
    scaled = (
        TEXT.replace("at_least: 0.3}", "at_least: 0.3, scales: [b]}") + "default_scale: a\nscales: {a: {}, b: {}}\n"
    )
    assert scaled != TEXT and study(tmp_path, scaled).gates == ()


def test_a_scale_and_a_seed_reach_every_run(tmp_path: Path) -> None:
    scaled = TEXT.replace("seeds: [0, 1]\n", "default_scale: a\nscales: {a: {}, b: {sft: {steps: 9}}}\n")
    (tmp_path / "sweep.yaml").write_text(scaled)
    run = "sft-lr=1e-3"
    found = {scale: expand(tmp_path / "sweep.yaml", scale, 4).runs[run].config for scale in (None, "a", "b")}
    assert {scale: (config["steps"], config["seed"]) for scale, config in found.items()} == {
        None: (5, 4), "a": (5, 4), "b": (9, 4),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("regularizers.0.coef:", "regularizers.0.coeff:",
         r"sweep.yaml:6: grid.kl.regularizers.0.coeff: unknown key .did you mean 'coef'"),
        ("regularizers.0.coef:", "regularizers.3.coef:", r"sweep.yaml:6: grid.kl.regularizers.3.coef: regularizers is"),
        ("{lr: [1e-3, 2e-3]}", "{lr: [1e-3, fast]}", "sweep.yaml:4: grid.sft.lr: expected a number, got .fast."),
        ("steps: 5", "stepz: 5", "sweep.yaml:12: runs.sft: stepz: unknown key .did you mean 'steps'"),
        ("total_episodes: 6400", "total_episode: 6400", "sweep.yaml:10: runs.kl: total_episode: unknown key"),
        ("[0.1, 0.2]", "[0.1, 0.1]", "2 runs would be called 'kl-sft.lr=1e-3-coef=0.1-policy=sft-seed=0'"),
        ("[0.1, 0.2]", "{" + "x" * 250 + ": 0.1}", "has 2.. characters; label long values"),
    ],
)  # fmt: skip
def test_errors_name_the_line_and_come_once(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError, match=message) as caught:
        study(tmp_path, TEXT.replace(old, new))
    assert len(caught.value.problems) == len(set(caught.value.problems))
    assert len([problem for problem in caught.value.problems if "grid." in problem]) <= 1


@pytest.mark.parametrize(
    ("old", "new"),
    [("  sft: {lr: [1e-3, 2e-3]}", "  sft: {model.path: [runs/kl]}"), ("steps: 5", "steps: 5, policy: runs/kl")],
)
def test_a_run_that_descends_from_itself_is_refused(tmp_path: Path, old: str, new: str) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError, match=r"sweep.yaml:\d+: runs.\w+ descends from itself"):
        study(tmp_path, TEXT.replace(old, new))

"""Loading and resolving a study."""

from __future__ import annotations

from pathlib import Path

import pytest

from overopt.errors import ConfigError, UserError
from overopt.studies.study import Study, load_study, merge

TEXT = """\
name: little
default_scale: small
costs: {online: 3}
gates: [{run: base, value: win_rate, at_least: 0.3}]
defaults:
  "*": {lr: 1, task: {name: toy, size: 1}}
  online: {lr: 2, policy: runs/base, loss: {name: a, alpha: 1}}
runs:
  base: {stage: sft}
  plain: {stage: online}
  slow: {stage: online, lr: 3, loss: {name: b}}
scales:
  small: {}
  big:
    "*": {task.size: 5, lr: 10}
    online: {lr: 20}
    slow: {lr: 30}
"""


def study(tmp_path: Path, text: str = TEXT) -> Study:
    (tmp_path / "little.yaml").write_text(text)
    return load_study(tmp_path / "little.yaml")


def test_the_narrower_setting_wins_and_among_equals_the_scale(tmp_path: Path) -> None:
    little = study(tmp_path)
    lr = {
        (run, scale): little.config(run, scale, 0)["lr"]
        for run in ("base", "plain", "slow")
        for scale in ("small", "big")
    }
    assert lr == {
        ("base", "small"): 1, ("plain", "small"): 2, ("slow", "small"): 3,
        ("base", "big"): 10, ("plain", "big"): 20, ("slow", "big"): 30,
    }  # fmt: skip


def test_a_config_is_merged_and_another_choice_replaces(tmp_path: Path) -> None:
    little = study(tmp_path)
    assert little.config("slow", "big", 4) == {
        "stage": "online", "seed": 4, "lr": 30, "task": {"name": "toy", "size": 5},
        "policy": "runs/base", "loss": {"name": "b"},
    }  # fmt: skip
    assert little.config("plain", "small", 4)["loss"] == {"name": "a", "alpha": 1}
    assert merge({"a": {"name": "x", "b": 1}}, {"a": {"c": 2}}) == {"a": {"name": "x", "b": 1, "c": 2}}


def test_the_fingerprint_tells_what_would_be_trained(tmp_path: Path) -> None:
    little = study(tmp_path)
    same = study(tmp_path, TEXT.replace("online: 3", "online: 4"))
    other = study(tmp_path, TEXT.replace("alpha: 1", "alpha: 2"))
    assert little.fingerprint("small", 0) == same.fingerprint("small", 0)
    assert len({little.fingerprint("small", 0), little.fingerprint("small", 1), other.fingerprint("small", 0)}) == 3


def test_an_unknown_scale_names_the_flag_and_the_scales(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--scale huge: no such scale; little has small, big"):
        study(tmp_path).config("base", "huge", 0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("policy: runs/base", "policy: runs/bass", "runs/bass: no such run .did you mean 'base'?"),
        (
            "    slow: {lr: 30}",
            "    slaw: {lr: 30}",
            "scales.big.slaw: neither a run nor a stage, nor a pattern of runs .did you mean 'slow'?",
        ),
        ("{run: base,", "{run: bas,", "gates.0.run: no run 'bas' .did you mean 'base'?"),
        ("default_scale: small", "default_scale: smal", "default_scale: no scale 'smal' .did you mean 'small'?"),
        ("base: {stage: sft}", "base: {lr: 1}", "runs.base has no stage"),
        ("costs: {online: 3}", "cost: {online: 3}", "little.yaml:3: cost: unknown key"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError, match=message):
        study(tmp_path, TEXT.replace(old, new))


PATTERNS = """\
name: patterns
default_scale: small
costs: {online: 3, "*-2B*": 9, kl-2B: 4}
runs:
  kl-1B: {stage: online}
  kl-2B: {stage: online}
  me-2B: {stage: online}
defaults:
  "*-2B": {lr: 2, seed: 7}
  online: {lr: 1}
  "kl-*": {lr: 3}
scales:
  small: {}
  big: {"*-2B": {lr: 20}, me-2B: {seed: 9}}
grid: {"*-2B": {coef: [1, 2]}, kl-1B: {coef: [3]}}
scale_grids: {big: {"*-2B": {coef: [5]}, me-2B: {clip: [0.1, 0.2]}}}
"""


def test_a_pattern_chooses_runs_and_is_narrower_than_a_stage(tmp_path: Path) -> None:
    patterns = study(tmp_path, PATTERNS)
    lr = {run: patterns.config(run, "small", 0)["lr"] for run in patterns.runs}
    assert lr == {"kl-1B": 3, "kl-2B": 3, "me-2B": 2}, "of two patterns the last wins"
    assert patterns.config("me-2B", "big", 0) == {"stage": "online", "seed": 9, "lr": 20}
    assert [patterns.cost(run, "small") for run in patterns.runs] == [3, 4, 9]


def test_a_scale_replaces_values_of_the_grid(tmp_path: Path) -> None:
    patterns = study(tmp_path, PATTERNS)
    assert patterns.grid_at("small") == {"*-2B": {"coef": [1, 2]}, "kl-1B": {"coef": [3]}}
    assert patterns.grid_at("big") == {"*-2B": {"coef": [5]}, "kl-1B": {"coef": [3]}, "me-2B": {"clip": [0.1, 0.2]}}
    with pytest.raises(ConfigError, match="scale_grids.bug: no such scale .did you mean 'big'"):
        study(tmp_path, PATTERNS.replace("scale_grids: {big", "scale_grids: {bug"))


def test_a_scale_has_costs_seeds_and_gates_of_its_own(tmp_path: Path) -> None:
    at_big = """\
seeds: [1, 2]
scale_costs: {big: {"*": 100, me-2B: 7}}
scale_seeds: {big: [5]}
gates:
  - {run: "kl-*", value: win_rate, at_least: 0.3}
  - {run: kl-1B, value: accuracy, at_least: 0.6, scales: [small]}
"""
    patterns = study(tmp_path, PATTERNS + at_big)
    assert [patterns.cost(run, "big") for run in patterns.runs] == [100, 100, 7]
    assert (patterns.seeds_at("small"), patterns.seeds_at("big")) == ((1, 2), (5,))
    gates = {scale: [gate.value for gate in patterns.gates_at(scale)] for scale in ("small", "big")}
    assert gates == {"small": ["win_rate", "accuracy"], "big": ["win_rate"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scale_costs: {bug: {}}", "scale_costs.bug: no such scale .did you mean 'big'"),
        ("scale_costs: {big: {kl-3B: 1}}", "scale_costs.big.kl-3B: neither a run nor a stage"),
        ("scale_seeds: {bug: [1]}", "scale_seeds.bug: no such scale"),
        ("scale_seeds: {big: [1, 1]}", "seeds: one of them is repeated"),
        ("gates: [{run: kl-1B, value: x, at_least: 1, scales: [bug]}]", "gates.0.scales.bug: no such scale"),
    ],
)
def test_a_scale_that_is_misspelt_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        study(tmp_path, f"{PATTERNS}{text}\n")

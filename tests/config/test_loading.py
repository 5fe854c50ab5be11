"""A YAML becomes an object, or all its errors are told at once, each with its place and the nearest valid name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field, model_validator

from overopt.config import Choice, Location, block, load
from overopt.errors import ConfigError


@block
class DPO:
    beta: Annotated[float, Field(gt=0)] = 0.1


@block
class SimPO:
    alpha: Annotated[float, Field(gt=0)] = 2.0
    gamma: float = 0.5

    @model_validator(mode="after")
    def _bounded(self) -> SimPO:
        if self.gamma > 100:
            raise ValueError("gamma is absurd")
        return self


@block
class KL:
    coef: float


@block
class AdaptiveKL:
    target: float = 6.0


@block
class Optimizer:
    eps: float = 1e-8
    betas: tuple[float, float] = (0.9, 0.999)


@block
class Offline:
    stage: ClassVar[str] = "offline"
    policy: Location
    lr: Annotated[float, Field(gt=0)] = 1e-6
    steps: int = 3
    loss: Annotated[DPO | SimPO, Choice()] = DPO(beta=0.3)
    regularizers: tuple[Annotated[KL, Choice()], ...] = ()
    controller: Annotated[float | AdaptiveKL, Choice()] = 0.2
    optimizer: Optimizer = Optimizer(eps=1e-5)
    style: Literal["raw", "chat_template"] = "raw"
    provenance: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _lucky(self) -> Offline:
        if self.steps == 13:
            raise ValueError("13 steps are unlucky")
        return self


@block
class SFT:
    stage: ClassVar[str] = "sft"
    lr: float = 1.0


STAGES: dict[str, type] = {"offline": Offline, "sft": SFT}
VALID = "policy, lr, steps, loss, regularizers, controller, optimizer, style, provenance"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(text: str, *overrides: tuple[str, str]) -> Any:
    Path("a.yaml").write_text(text)
    return load(STAGES, Path("a.yaml"), overrides)


def problems(text: str, *overrides: tuple[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, *overrides)
    return caught.value.problems


def in_offline(line: str, *overrides: tuple[str, str]) -> list[str]:
    """The errors of a YAML whose third line is `line`."""
    return problems(f"stage: offline\npolicy: x\n{line}", *overrides)


def test_a_yaml_becomes_an_object() -> None:
    text = (
        "stage: offline\npolicy: ../sft\nlr: 1e-3\nloss: {name: simpo, gamma: 1}\nregularizers: [{name: kl, coef: 2}]"
    )
    assert read(text) == Offline(
        policy=str(Path.cwd().parent / "sft"), lr=0.001, loss=SimPO(gamma=1.0), regularizers=(KL(coef=2.0),)
    )


def test_the_short_spelling_and_the_plain_value_of_a_choice() -> None:
    made = read("stage: offline\npolicy: x\nloss: simpo\ncontroller: 1")
    assert (made.loss, made.controller) == (SimPO(), 1.0)
    assert read("stage: offline\npolicy: x\ncontroller: adaptive_kl").controller == AdaptiveKL()


def test_what_is_left_out_is_what_its_place_would_have_had() -> None:
    made = read("stage: offline\npolicy: x\noptimizer: {betas: [0, 1]}")
    assert made.optimizer == Optimizer(eps=1e-5, betas=(0.0, 1.0))
    assert made.loss == DPO(beta=0.3)


def test_overrides_in_any_order() -> None:
    made = read(
        "stage: offline\npolicy: x\nregularizers: [{name: kl, coef: 1}]",
        ("loss.gamma", "0.25"),
        ("loss", "simpo"),
        ("regularizers.0.coef", "1e-1"),
        ("optimizer.betas.1", "0.5"),
        ("provenance.loss.gamma", "our choice"),
    )
    assert made.loss == SimPO(gamma=0.25)
    assert made.regularizers == (KL(coef=0.1),)
    assert made.optimizer == Optimizer(eps=1e-5, betas=(0.9, 0.5))
    assert made.provenance == {"loss.gamma": "our choice"}


def test_paths_in_overrides_start_from_where_they_were_written(tmp_path: Path) -> None:
    tree = {"stage": "offline", "policy": "x", "lr": 1.0}
    read_at = load(STAGES, tree, [("policy", "y")], base=tmp_path, override_base=tmp_path / "b")
    assert read_at.policy == str(tmp_path / "b/y")
    assert load(STAGES, tree, [("policy", "y")], base=tmp_path).policy == str(Path.cwd() / "y")


def test_an_override_of_the_name_alone_keeps_nothing_of_the_old_choice() -> None:
    assert read("stage: offline\npolicy: x\nloss: {name: dpo, beta: 9}", ("loss.name", "simpo")).loss == SimPO()


def test_paths_of_the_file_and_of_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    file = tmp_path / "inner" / "a.yaml"
    file.write_text("stage: offline\npolicy: x\n")
    assert load(STAGES, file).policy == str(tmp_path / "inner" / "x")
    assert load(STAGES, file, [("policy", "x")]).policy == str(tmp_path / "x")
    assert load(STAGES, file, base=tmp_path / "other").policy == str(tmp_path / "other" / "x")


def test_a_plug_in_on_the_command_line_lies_in_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from overopt.config import block\n@block\nclass Mine:\n    k: int = 3\n")
    assert read("stage: offline\npolicy: x\n", ("loss", "mine:Mine"), ("loss.k", "5")).loss.k == 5
    assert in_offline("loss: {name: 'mine:Mine', kk: 4}") == [
        "a.yaml:3: loss.kk: unknown key (did you mean 'k'? valid: k)"
    ]


def test_a_plain_tree() -> None:
    assert load(Offline, {"policy": "/x", "lr": 1, "loss": SimPO()}) == Offline(policy="/x", lr=1.0, loss=SimPO())
    assert load(STAGES, {"stage": "sft"}) == SFT()
    with pytest.raises(ConfigError) as caught:
        load(Offline, {"policy": "/x", "lrr": 1, "loss": {"name": "dop"}, "steps": object()})
    steps, loss, lrr = sorted(caught.value.problems, reverse=True)
    assert steps.startswith('steps: expected a whole number, got "<object object')
    assert loss == "lrr: unknown key (did you mean 'lr'? valid: " + VALID + ")"
    assert lrr == "loss: unknown name 'dop' (did you mean 'dpo'? valid: dpo, simpo)"


def test_all_errors_come_at_once_and_in_order() -> None:
    text = """\
stage: offline
lr: true
sede: 1
loss:
  name: simpo
  gama: 1
regularizers:
- {name: kl}
- kl2
optimizer: 3
lr: 3
"""
    assert problems(text, ("steps", "1.5"), ("los", "simpo")) == [
        "a.yaml:1: policy: is missing and has no default",
        "a.yaml:2: lr: expected a number, got true",
        f"a.yaml:3: sede: unknown key (valid: {VALID})",
        "a.yaml:6: loss.gama: unknown key (did you mean 'gamma'? valid: alpha, gamma)",
        "a.yaml:8: regularizers.0.coef: is missing and has no default",
        "a.yaml:9: regularizers.1: unknown name 'kl2' (did you mean 'kl'? valid: kl)",
        "a.yaml:10: optimizer: expected a block of `key: value`, got 3",
        "a.yaml:11: lr: duplicate key, first given on line 2",
        "--steps: expected a whole number, got 1.5",
        f"--los: unknown key (did you mean 'loss'? valid: {VALID})",
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('lr: "fast"', 'lr: expected a number, got "fast"'),
        ('lr: "1e-3"', 'lr: expected a number, got "1e-3"'),
        ("lr:", "lr: expected a number, got nothing"),
        ("lr: 0", "lr: must be > 0, got 0"),
        ("lr: .nan", "lr: expected a finite number, got .nan"),
        ("lr: -.inf", "lr: expected a finite number, got -.inf"),
        ("steps: 2.0", "steps: expected a whole number, got 2.0"),
        ("steps: true", "steps: expected a whole number, got true"),
        ("loss: {gamma: 1, beta: 2}", "loss.gamma: unknown key (valid: beta)"),
        ("loss: 3", "loss: expected one of dpo, simpo, got 3"),
        ("loss: {name: 3}", "loss.name: the name must be text, got 3 (valid: dpo, simpo)"),
        ("loss: {name: simpo, alpha: -1}", "loss.alpha: must be > 0, got -1"),
        ("loss: {name: simpo, gamma: 101}", "loss: gamma is absurd"),
        ("loss: nowhere:X", "loss: cannot load 'nowhere': ModuleNotFoundError: No module named 'nowhere'"),
        ("regularizers: kl", 'regularizers: expected a list, got "kl"'),
        ("regularizers: [{coef: 1}]", "regularizers.0: has no name (valid: kl)"),
        ("controller: yes", "controller: unknown name 'yes' (valid: adaptive_kl), or a plain value"),
        ("controller: true", "controller: expected a number, got true"),
        ("optimizer: {betas: [1]}", "optimizer.betas.1: is missing and has no default"),
        ("style: chat", "style: unknown value 'chat' (valid: raw, chat_template)"),
        (
            "style: chat_templat",
            "style: unknown value 'chat_templat' (did you mean 'chat_template'? valid: raw, chat_template)",
        ),
        ("provenance: {lr: 3}", "provenance.lr: expected text, got 3"),
    ],
)
def test_one_wrong_value(line: str, problem: str) -> None:
    assert in_offline(line) == [f"a.yaml:3: {problem}"]


def test_a_rule_between_fields_stands_at_its_block() -> None:
    assert in_offline("steps: 13") == ["a.yaml:1: 13 steps are unlucky"]


@pytest.mark.parametrize(
    ("address", "text", "problem"),
    [
        ("lr", "fast", '--lr: expected a number, got "fast"'),
        ("lr", "[1", "--lr: '[1' does not parse as YAML: expected ',' or ']', but got '<stream end>'"),
        ("lr.x", "1", "--lr.x: lr holds 1e-06, which has no parts"),
        (
            "regularizers.0.coef",
            "1",
            "--regularizers.0.coef: regularizers is a list of 0; its items are addressed from 0",
        ),
        ("loss", "simpoo", "--loss: unknown name 'simpoo' (did you mean 'simpo'? valid: dpo, simpo)"),
        (
            "loss",
            "{name: simpo, gama: 1}",
            "--loss: loss.gama: unknown key (did you mean 'gamma'? valid: alpha, gamma)",
        ),
        ("loss.gama", "1", "--loss.gama: unknown key (valid: beta)"),
        ("sede.x", "1", f"--sede.x: sede: unknown key (valid: {VALID})"),
        ("policy", "", "--policy: expected text, got nothing"),
        ("policy", "''", "--policy: must not be empty"),
        ("stage", "oflin", "--stage: unknown stage 'oflin' (did you mean 'offline'? valid: offline, sft)"),
    ],
)
def test_one_wrong_override(address: str, text: str, problem: str) -> None:
    assert problems("stage: offline\npolicy: x\n", (address, text)) == [problem]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("lr: 1", "a.yaml:1: the key `stage` is missing (valid: offline, sft)"),
        (
            "lr: 1\nstage: ofline",
            "a.yaml:2: stage: unknown stage 'ofline' (did you mean 'offline'? valid: offline, sft)",
        ),
        ("stage: [sft]", "a.yaml:1: stage: unknown stage ['sft'] (did you mean 'sft'? valid: offline, sft)"),
        ("", "a.yaml: the file is empty; it must hold `key: value` lines"),
        ("# nothing\n", "a.yaml: the file is empty; it must hold `key: value` lines"),
        ("\n- a\n", 'a.yaml:2: expected `key: value` lines, got ["a"]'),
        ("lr 1", 'a.yaml:1: expected `key: value` lines, got "lr 1"'),
        ("a: 1\nb: [1", "a.yaml:2: does not parse as YAML: expected ',' or ']', but got '<stream end>'"),
    ],
)
def test_a_file_that_is_no_config(text: str, problem: str) -> None:
    assert problems(text) == [problem]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    def problem(path: str) -> Sequence[str]:
        with pytest.raises(ConfigError) as caught:
            load(SFT, Path(path))
        return caught.value.problems

    assert problem("gone.yaml") == ["gone.yaml: no such file"]
    os.mkdir("folder")
    assert problem("folder") == ["folder: cannot be read: Is a directory"]
    Path("bytes").write_bytes(b"lr: \xff")
    assert problem("bytes") == ["bytes: not a text file in UTF-8 (invalid start byte at byte 4); save it as UTF-8"]


def test_the_stage_of_a_single_class_may_be_given_and_must_agree() -> None:
    assert load(SFT, {"stage": "sft"}) == load(SFT, {}) == SFT()
    with pytest.raises(ConfigError, match="unknown stage 'offline'"):
        load(SFT, {"stage": "offline"})


def test_a_byte_order_mark_is_no_key() -> None:
    Path("bom.yaml").write_text("lr: 2", encoding="utf-8-sig")
    assert load(SFT, Path("bom.yaml")).lr == 2.0


def test_a_stage_without_its_class_variable_is_our_fault() -> None:
    with pytest.raises(TypeError, match="stage: ClassVar"):
        load({"kl": KL}, {"stage": "kl"})

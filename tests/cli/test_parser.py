"""The command line: verbs, flags, messages and exit codes."""

from __future__ import annotations

import subprocess
import sys

import pytest

import overopt
from overopt import cli
from overopt.cli import help_texts, parser

VERBS = (
    "demo", "study", "train", "sweep", "watch", "evaluate", "judge", "log", "report", "best-of-n", "convert", "merge",
    "push", "plan", "show", "power", "claims", "theory", "objectives",
)  # fmt: skip


@pytest.mark.parametrize("arguments", [["--help"], ["theory", "--help"], ["objectives", "--help"]])
def test_help_teaches_by_example_and_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom overopt.cli import main\n"
        f"try:\n    main({arguments})\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(sorted({'torch', 'numpy', 'pydantic', 'rich', 'yaml'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.endswith("[]\n")
    for verb in VERBS if arguments == ["--help"] else (arguments[0],):
        assert f"  overopt {verb}" in shown


@pytest.mark.parametrize("verb", VERBS)
def test_a_verbs_help_has_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([verb, "--help"])
    assert end.value.code == 0
    assert f"\n  overopt {verb}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert (end.value.code, capsys.readouterr().out) == (0, f"overopt {overopt.__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "own", "overrides"),
    [
        (["train", "a.yaml", "--out", "r"], ["train", "a.yaml", "--out", "r"], []),
        (["train", "--lr", "1e-3", "a.yaml", "--out", "r"], ["train", "a.yaml", "--out", "r"], [("lr", "1e-3")]),
        (["train", "a.yaml", "--out=r", "--lr=1e-3"], ["train", "a.yaml", "--out=r"], [("lr", "1e-3")]),
        (["train", "a.yaml", "--a.0.b", "-0.5", "--c", "[]"], ["train", "a.yaml"], [("a.0.b", "-0.5"), ("c", "[]")]),
        (["train", "a.yaml", "--loss=", "--x.y", "a=b"], ["train", "a.yaml"], [("loss", ""), ("x.y", "a=b")]),
        (["train", "--help"], ["train", "--help"], []),
        (["train", "-h"], ["train", "-h"], []),
    ],
)
def test_unknown_flags_of_train_are_settings(
    arguments: list[str], own: list[str], overrides: list[tuple[str, str]]
) -> None:
    assert parser.split_overrides(arguments) == (own, overrides)


@pytest.mark.parametrize("arguments", [["train", "a.yaml", "--lr"], ["train", "a.yaml", "--lr", "--out", "r"]])
def test_a_setting_without_a_value_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err == "overopt: --lr: needs a value, such as --lr 1e-3\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: VERB"),
        (["dmeo"], "invalid choice: 'dmeo'"),
        (["demo", "--seed", "-1"], "argument --seed: expected 0, 1, 2, ..., got '-1'"),
        (["demo", "--seed", "one"], "argument --seed: expected 0, 1, 2, ..., got 'one'"),
        (["demo", "--workers", "0"], "argument --workers: expected 1, 2, ..., got '0'"),
        (["demo", "--sed", "1"], "unrecognized arguments: --sed 1"),
        (["train", "a.yaml"], "required: --out"),
        (["power", "--seeds", "1"], "argument --seeds: expected whole numbers from 2 to 1000000, got '1'"),
        (["power", "--prompts", "100,"], "argument --prompts: expected whole numbers from 1 to 1000000, got '100,'"),
        (["power", "--power", "1"], "argument --power: expected a probability from 0.5 to 0.999, got '1'"),
        (["evaluate", "kl", "--split", "holdout"], "invalid choice: 'holdout'"),
        (["evaluate", "kl", "--checkpoints", "first"], "expected whole numbers from 0 to 1000000, got 'first'"),
        (["evaluate", "kl", "--max-completion-tokens", "53,x"], "expected whole numbers from 1 to 1000000, got '53,x'"),
        (["report"], "required: RUNS"),
        (["report", "runs", "--format", "html,gif"], "expected some of html,svg,pdf,png, got 'html,gif'"),
        (["best-of-n", "a.jsonl", "--format", "gif"], "invalid choice: 'gif'"),
    ],
)
def test_bad_flags(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_judges_are_separated_by_commas_outside_brackets() -> None:
    options = parser.parse(["report", "runs", "--judge", "gold, majority(gold,hf/m:j1),average(a,b)"])
    assert options.judge == ("gold", "majority(gold,hf/m:j1)", "average(a,b)")
    assert parser.parse(["report", "runs"]).judge == ()


def test_reports_help_names_every_figure() -> None:
    from overopt.analysis.report.figures import FAMILIES

    assert f"Figures: {', '.join(FAMILIES)}." in help_texts.REPORT


def test_seeds_are_ranges_and_lists(capsys: pytest.CaptureFixture[str]) -> None:
    seeds = [parser.parse(["study", "demo", "--seeds", text]).seeds for text in ("7", "3..5", "1,4..5")]
    assert seeds == [(7,), (3, 4, 5), (1, 4, 5)]
    for text in ("5..3", "1,1", "-1", "a", ""):
        with pytest.raises(SystemExit):
            parser.parse(["study", "demo", f"--seeds={text}"])
        assert "expected seeds such as 110..114" in capsys.readouterr().err


def test_checkpoints_are_all_the_last_or_steps() -> None:
    options = parser.parse(["evaluate", "a", "b"])
    assert (options.checkpoints, options.max_completion_tokens, options.against) == ("all", (), "reference")
    assert parser.parse(["evaluate", "a", "--checkpoints", "last"]).checkpoints == "last"
    assert parser.parse(["evaluate", "a", "--checkpoints", "0,40"]).checkpoints == [0, 40]

from __future__ import annotations

from pathlib import Path
from typing import Any

from overopt.evaluation.win_rate_tables import tables

ROW: dict[str, Any] = {
    "step": 0, "split": "tuning", "judge": "gold", "judge_hash": "abc", "prompt_set": "p", "against": "reference",
    "max_completion_tokens": 53, "n": 100, "invalid": 0, "win_rate": 0.5, "win_rate_low": 0.4, "win_rate_high": 0.6,
    "win_rate_invalid_as_loss": 0.5, "win_difference": 0.0, "win_difference_se": 0.0, "gold_mean": -1.25,
}  # fmt: skip
LATER = ROW | {"step": 80, "win_rate": 0.75, "win_difference": 0.25, "win_difference_se": 0.04}


def test_a_table_by_hand() -> None:
    assert tables({Path("runs/kl"): [ROW, LATER]}).splitlines() == [
        "judge gold (hash abc), against reference, tuning prompts (set p)",
        "run  step    n  win rate            95 %  difference (SE)   gold",
        "----------------------------------------------------------------",
        "kl      0  100     0.500  0.400 to 0.600   +0.000 (0.000)  -1.25",
        "kl     80  100     0.750  0.400 to 0.600   +0.250 (0.040)  -1.25",
    ]


def test_limits_and_invalid_answers_are_shown_where_there_are_several() -> None:
    long = ROW | {"max_completion_tokens": 128, "invalid": 3, "win_rate_invalid_as_loss": 0.48}
    lines = tables({Path("a"): [ROW, long]}).splitlines()
    heads = ["run", "step", "limit", "n", "win rate", "95 %", "difference (SE)", "invalid", "as losses", "gold"]
    assert lines[1].split() == " ".join(heads).split(" ")
    assert lines[3].split()[2] == "53" and lines[4].split()[2] == "128" and lines[4].split()[-3:-1] == ["3", "0.480"]


def test_what_cannot_be_compared_stands_in_tables_of_its_own() -> None:
    others = [
        {"prompt_set": "q"},
        {"judge_hash": "def"},
        {"against": "sft"},
        {"split": "test"},
    ]
    text = tables({Path("a"): [ROW], Path("b"): [ROW, *(ROW | other for other in others)]})
    parts = text.split("\n\n")
    assert [part.splitlines()[0] for part in parts] == [
        "judge gold (hash abc), against reference, tuning prompts (set p)",
        "judge gold (hash abc), against reference, tuning prompts (set q)",
        "judge gold (hash def), against reference, tuning prompts (set p)",
        "judge gold (hash abc), against sft, tuning prompts (set p)",
        "judge gold (hash abc), against reference, test prompts (set p)",
    ]
    assert [len(part.splitlines()) for part in parts] == [5, 4, 4, 4, 4]


def test_runs_of_the_same_name_are_told_apart_by_their_paths() -> None:
    lines = tables({Path("x/kl"): [ROW], Path("y/kl"): [ROW], Path("y/none"): [ROW]}).splitlines()
    assert [line.split()[0] for line in lines[3:]] == ["x/kl", "y/kl", "none"]


def test_a_row_without_a_win_rate_says_so_by_empty_cells() -> None:
    bare = {name: ROW[name] for name in ("step", "split", "judge", "judge_hash", "prompt_set", "against")}
    lines = tables({Path("a"): [bare | {"n": 0}, LATER]}).splitlines()
    assert lines[3].split() == ["a", "0", "0"]

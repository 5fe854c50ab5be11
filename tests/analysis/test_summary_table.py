"""The table of runs with their verdicts, in a pipe and on terminals."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from fake_runs import BETTER, WORSE, base_run, online_run
from judged_again import MODEL, judge_again

from overopt.analysis.run_summary import Judged, RunSummary
from overopt.analysis.summary_table import judges_table, labels_of_runs, print_table

ROWS = [
    RunSummary(
        run="kl", objective="kl", coefficient=0.2, lr=5e-4, label="GOOD", win_rate=0.8, win_rate_low=0.7,
        win_rate_high=0.9, sft_win_rate=0.4, proxy_start=0.0, proxy_end=1.0, gold_start=-2.0, gold_end=-1.0,
        kl_ref=2.04,
    ),
    RunSummary(run="none", objective="none", coefficient=0.0, gate="sft.win_rate"),
]  # fmt: skip


def test_plain_text_is_aligned() -> None:
    stream = io.StringIO()
    print_table(ROWS, stream=stream)
    assert stream.getvalue().splitlines()[:4] == [
        "run   objective  coef  lr      outcome  win rate (95 %)   SFT   proxy           gold            KL",
        "-" * 99,
        "kl    kl         0.2   0.0005  GOOD     0.80 (0.70-0.90)  0.40  +0.00 -> +1.00  -2.00 -> -1.00  2.0",
        "none  none       0     -       gate     -                 -     - -> -          - -> -          -",
    ]


def test_in_a_pipe_there_is_no_color_and_nothing_is_wrapped() -> None:
    stream = io.StringIO()
    print_table(ROWS, "A study", stream)
    text = stream.getvalue()
    assert text.startswith("A study\n\nrun   objective")
    assert "\x1b" not in text
    assert "\nkl    Improved: the win rate rose from 40% (SFT) to 80%; the proxy went from +0.00 to +1.00.\n" in text
    assert "\nnone  Not judged: the gate sft.win_rate failed.\n" in text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = Terminal()
    print_table(ROWS, "A study", stream)
    return stream.getvalue()


def test_on_a_wide_terminal_everything_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    text = on_terminal(monkeypatch, 140)
    for words in ["A study", "objective", "GOOD", "0.80 (0.70-0.90)", "-2.00 -> -1.00", "Improved: the win rate rose"]:
        assert words in text


def test_a_narrow_terminal_goes_without_columns_rather_than_cut_them(monkeypatch: pytest.MonkeyPatch) -> None:
    text = on_terminal(monkeypatch, 60)
    assert "objective" not in text
    assert "-2.00" not in text
    assert "0.80 (0.70-0.90)" in text
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in text.splitlines()) <= 60


TWICE = [
    replace(ROWS[0], judge="gold", others=(Judged("hf/m:j1", None, "FLAT", "", 0.45, 0.35, 0.55, 0.4),)),
    replace(ROWS[1], judge="gold"),
]


def test_each_judge_has_its_columns_and_the_disagreement_is_said() -> None:
    stream = io.StringIO()
    print_table(TWICE, stream=stream)
    head, _, kl, none, *rest = stream.getvalue().splitlines()
    places = [head.index(name) for name in ("outcome by gold", "outcome by hf/m:j1", "win rate by gold",
                                            "win rate by hf/m:j1", "proxy")]  # fmt: skip
    cells = [[line[a:b].strip() for a, b in pairwise(places)] for line in (kl, none)]
    assert cells == [
        ["GOOD", "FLAT", "0.40 -> 0.80 (0.70-0.90)", "0.40 -> 0.45 (0.35-0.55)"],
        ["gate", "-", "- -> -", "-"],
    ]
    assert "SFT" not in head, "it is told with each win rate"
    assert rest[-1] == "gold and hf/m:j1 disagree on 1 of 1 run: kl (GOOD against FLAT)."


def test_on_a_terminal_win_rates_of_other_judges_go_before_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    print_table(TWICE, stream=stream)
    text = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert all(name in text for name in ("outcome by gold", "outcome by hf/m:j1", "win rate by gold"))
    assert "win rate by hf/m:j1" not in text
    assert "disagree on 1 of 1 run: kl (GOOD against FLAT)." in text.replace("\n", " ")


def test_the_table_of_judges_alone() -> None:
    assert judges_table(TWICE).splitlines() == [
        "run   outcome by gold  outcome by hf/m:j1  win rate by gold          win rate by hf/m:j1",
        "-" * 93,
        "kl    GOOD             FLAT                0.40 -> 0.80 (0.70-0.90)  0.40 -> 0.45 (0.35-0.55)",
        "none  gate             -                   - -> -                    -",
        "",
        "gold and hf/m:j1 disagree on 1 of 1 run: kl (GOOD against FLAT).",
    ]
    assert judges_table(ROWS) == "", "the runs' own judge has nobody to disagree with"
    later = replace(ROWS[0], judge="hf/m:j1", judge_hash="abc")
    assert judges_table([later]).splitlines()[0] == "run  outcome by hf/m:j1  win rate by hf/m:j1", "no other is there"


def test_labels_are_read_from_the_records_of_runs(tmp_path: Path) -> None:
    runs = [online_run(tmp_path / "a/kl", BETTER), online_run(tmp_path / "b/kl", WORSE), base_run(tmp_path / "sft")]
    assert labels_of_runs(runs) == ""
    for run in runs[:2]:
        judge_again(run, {0: [0.0] * 10, 10: [1.0] * 10, 20: [1.0] * 10})
    lines = labels_of_runs(runs).splitlines()
    assert re.split(" {2,}", lines[0])[:3] == ["run", "outcome by gold", f"outcome by {MODEL}"]
    assert [line.split()[:3] for line in lines[2:4]] == [["a/kl", "GOOD", "GOOD"], ["b/kl", "OVER", "GOOD"]]
    assert lines[-1] == f"gold and {MODEL} disagree on 1 of 2 runs: b/kl (OVER against GOOD)."
    assert len(lines) == 6, "the SFT policy has no label"

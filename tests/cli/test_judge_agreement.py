"""`overopt judge agreement` from the command line: with judges of one's own, and with the built-in ones' refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from overopt import cli

OWN = """
from overopt.config import block
from overopt.evaluation.judges.base import Identity, Judgement

@block
class Longest:
    slip: int = 0  # the first so many pairs get the other answer

    def identity(self, situation):
        return Identity(f"longest-{self.slip}", f"{self.slip:012x}")

    def judge(self, comparisons, situation):
        longer = [len(c.ours.text) > len(c.reference.text) for c in comparisons]
        return [Judgement(float(is_longer != (i < self.slip))) for i, is_longer in enumerate(longer)]
"""


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with 40 pairs, of which humans prefer the longer completion in 30, and a judge by length."""
    monkeypatch.chdir(tmp_path)
    Path("own_judge.py").write_text(OWN)
    Path("slips.yaml").write_text("judge: {name: 'own_judge.py:Longest', slip: 4}\n")
    rows = [
        {"input": f"q{i}", "output_1": "long answer", "output_2": "short", "label": 1 if i < 30 else 2}
        for i in range(40)
    ]
    Path("pairs.json").write_text(json.dumps(rows))


def test_a_table_a_json_and_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["judge", "agreement", "pairs.json", "--judge", "own_judge.py:Longest,slips.yaml", "--out", "out/ag"]
    assert cli.main(command) == 0
    shown = capsys.readouterr().out
    assert "longest-0  40  0        0     0.75 [0.60, 0.86]" in shown
    assert "longest-4  40  0        0     0.65 [0.50, 0.78]" in shown
    assert "longest-0  longest-4    0.90 [0.77, 0.96]" in shown
    assert "longest-0: better than a coin; prefers the longer text more often than humans do." in shown
    assert shown.endswith(f"\npage: {Path('out/ag/agreement.html')}\n")
    assert "0.75 [0.60, 0.86]" in Path("out/ag/agreement.html").read_text()

    assert cli.main([*command[:3], "--judge", "own_judge.py:Longest", "--limit", "8", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["n"], document["judges"][0]["accuracy"]["value"]) == (8, 1)
    assert json.loads(Path("out/ag/agreement.json").read_text())["n"] == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.json", "--judge", "own_judge.py:Longest"], "none.json: no such file"),
        (["pairs.json", "--judge", "own_judge.py:Longest", "--judge", "own_judge.py:Longest"], "is named 2 times"),
        (["pairs.json", "--judge", "glod"], "glod"),
        (["pairs.json", "--judge", "gold"], "the task has no gold reward"),
        (["pairs.json", "--judge", "reward_model"], "{name: reward_model, path: FOLDER}"),
    ],
)
def test_bad_input_is_said(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["judge", "agreement", *arguments]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.out == ""


def test_another_measure_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["judge", "pairs.json", "--judge", "gold"])
    assert end.value.code == 2
    assert "agreement" in capsys.readouterr().err

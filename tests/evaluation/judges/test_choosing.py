from __future__ import annotations

from pathlib import Path

import pytest

from overopt.config import dump
from overopt.errors import ConfigError, UserError
from overopt.evaluation.judges.base import Comparison, Situation, judgements
from overopt.evaluation.judges.choosing import judge_from, judges_from
from overopt.evaluation.judges.gold import Gold
from overopt.evaluation.judges.reward_model import RewardModelJudge
from overopt.evaluation.judges.several import Majority
from overopt.types import Completion, PromptRecord

MINE = """
from overopt.config import block
from overopt.evaluation.judges import Judgement


@block
class Longer:
    margin: int = 0

    def judge(self, comparisons, situation):
        return [Judgement(float(len(c.ours.text) > len(c.reference.text) + self.margin)) for c in comparisons]


@block
class Silent:
    pass


@block
class Broken:
    def judge(self, comparisons, situation):
        return 1 / 0
"""
PAIR = Comparison(PromptRecord("p", "Why?"), Completion("aaa"), Completion("b"))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "mine.py").write_text(MINE)
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_judge_by_its_name_by_its_fields_and_by_a_file(folder: Path) -> None:
    assert judge_from("gold") == judge_from("{name: gold}") == Gold()
    assert judge_from("{name: reward_model, path: big}") == RewardModelJudge(path=str(folder / "big"))
    both = Majority(judges=[Gold(), RewardModelJudge(path=str(folder / "sub" / "big"))])
    (folder / "sub" / "both.yaml").write_text(
        "judge: {name: majority, judges: [gold, {name: reward_model, path: big}]}"
    )
    assert judge_from("sub/both.yaml") == both
    assert judges_from("gold, sub/both.yaml,{name: reward_model}") == [Gold(), both, RewardModelJudge()]


def test_a_judge_of_ones_own(folder: Path) -> None:
    for text in ("mine:Longer", "{name: mine.py:Longer, margin: 1}", f"{folder}/sub/mine.py:Longer"):
        judge = judge_from(text)
        assert [j.outcome for j in judgements(judge, [PAIR], Situation())] == [1.0]
    judge, eager = judge_from("{name: mine:Longer, margin: 2}"), judge_from("mine:Longer")
    assert [j.outcome for j in judgements(judge, [PAIR], Situation())] == [0.0]
    known = judge.identity(Situation())
    assert known.id == "longer" and known != eager.identity(Situation())
    (folder / "mine.py").write_text(MINE + "# edited\n")
    assert judge_from("{name: mine:Longer, margin: 2}").identity(Situation()).hash != known.hash


def test_one_s_own_in_a_majority(folder: Path) -> None:
    (folder / "sub" / "both.yaml").write_text("judge: {name: majority, judges: ['mine:Longer', gold]}")
    judge = judge_from("sub/both.yaml")
    assert dump(judge)["judges"][0] == {"name": f"{folder}/sub/mine.py:Longer", "margin": 0}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("gld", r"judge: unknown name 'gld' \(did you mean 'gold'\? valid: gold, reward_model, .*majority, average\)"),
        ("{nam: gold}", r"judge: has no name \(valid: gold"),
        ("{name: reward_model, pth: x}", r"judge\.pth: unknown key \(did you mean 'path'\? valid: path\)"),
        ("{name: majority, judges: [gold, {name: average, judges: []}]}", r"judge\.judges\.1: unknown name 'average'"),
        ("3", r"judge: expected one of gold, reward_model, .*, got 3"),
        ("[", r"judge: '\[' is not a name \(gold\), a file \(judge\.yaml\) or fields .*does not parse as YAML"),
        ("", "judge: the text is empty; expected a name"),
        ("gold,reward_model", r"judge: 'gold,reward_model' names 2; several as one are {name: majority"),
        ("absent.yaml", r"absent\.yaml: no such file"),
        ("mine:Silent", r"judge: '.*mine\.py:Silent' lacks judge\(comparisons, situation\)"),
        ("mine:Nobody", r"judge: '.*mine\.py' has no class 'Nobody' \(valid: Longer, Silent, Broken\)"),
        ("nowhere:Mine", "judge: cannot load 'nowhere': ModuleNotFoundError"),
    ],
)
def test_what_is_no_judge_is_said(text: str, problem: str) -> None:
    with pytest.raises(UserError, match=f"^{problem}"):
        judge_from(text)


def test_all_errors_of_a_file_have_their_lines(folder: Path) -> None:
    (folder / "bad.yaml").write_text(
        "judge:\n  name: majority\n  judges:\n  - gold\n  - {name: reward_model, pat: x}\n"
    )
    with pytest.raises(ConfigError, match=r"^bad\.yaml:5: judge\.judges\.1\.pat: unknown key"):
        judge_from("bad.yaml")
    (folder / "bad.yaml").write_text("name: gold\n")
    with pytest.raises(ConfigError) as error:
        judge_from("bad.yaml")
    assert "bad.yaml:1: name: unknown key (valid: judge)" in error.value.problems


def test_what_a_judge_of_ones_own_raises_names_it() -> None:
    with pytest.raises(UserError, match=r"mine\.py:Broken raised ZeroDivisionError"):
        judge_from("mine:Broken").judge([PAIR], Situation())

import json
from dataclasses import replace
from pathlib import Path

import pytest
import synthetic_study as synthetic
from synthetic_study import GOOD, OVER, Plan, Spec

from overopt.errors import UserError
from overopt.replication.questions.algorithm import ALGORITHMS
from overopt.replication.questions.write import QUESTIONS, answers_of, write_answer

PLAN: Plan = {(f"{a}-{r}", ()): Spec(**(GOOD if r == "KL" else OVER)) for a in ALGORITHMS for r in ("none", "KL", "ME")}  # type: ignore[arg-type]


def test_a_page_and_a_figure_and_the_numbers_of_each_question(tmp_path: Path) -> None:
    study = replace(synthetic.members(PLAN, (120, 121)), study="algorithm")
    files = write_answer(study, tmp_path)
    assert [str(file.relative_to(tmp_path)) for file in files] == [
        "answers/algorithm.json", "answers/algorithm.svg", "answers.html",
    ]  # fmt: skip
    content = json.loads(files[0].read_text())
    assert (
        content["decision"] == "on the regularizer" and content["seeds"] == [120, 121] and len(content["table"]) == 60
    )
    assert "<svg" in files[1].read_text()
    page = files[2].read_text()
    assert "Does the failure depend on the algorithm or on the regularizer?" in page and page.count("<svg") == 1


def test_a_study_without_questions_has_no_answers(tmp_path: Path) -> None:
    assert write_answer(synthetic.members({}), tmp_path) == [] and not list(tmp_path.iterdir())


def test_every_question_says_what_is_missing() -> None:
    for study, asked in QUESTIONS.items():
        found = answers_of(replace(synthetic.members({}), study=study))
        assert [answer.decision for answer in found] == ["not tested"] * len(asked)
        assert all(answer.paragraph.startswith("Not tested: ") and answer.chart is None for answer in found)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "answers").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_answer(replace(synthetic.members(PLAN, (120,)), study="algorithm"), tmp_path)

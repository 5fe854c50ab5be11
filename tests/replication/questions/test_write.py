import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import synthetic_study as synthetic
from synthetic_study import GOOD, OVER, Plan, Spec

from overopt.errors import UserError
from overopt.replication.questions.algorithm import ALGORITHMS, REGULARIZERS
from overopt.replication.questions.implementation_details import DETAILS
from overopt.replication.questions.preference_data import OFFLINE, ONLINE
from overopt.replication.questions.write import QUESTIONS, answers_of, write_answer
from overopt.studies.expand import expand
from overopt.studies.run import PACKAGED

PLAN: Plan = {(f"{a}-{r}", ()): Spec(**(GOOD if r == "KL" else OVER)) for a in ALGORITHMS for r in ("none", "KL", "ME")}  # type: ignore[arg-type]


def test_a_page_and_a_figure_and_the_numbers_of_each_question(tmp_path: Path) -> None:
    study = replace(synthetic.members(PLAN, (120, 121)), study="algorithm")
    files = write_answer(study, tmp_path)
    assert [str(file.relative_to(tmp_path)) for file in files] == [
        "answers/algorithm.json", "answers/algorithm.svg", "answers.html",
    ]  # fmt: skip
    content = json.loads(files[0].read_text())
    assert (
        content["decision"] == "on the regularizer" and content["seeds"] == [120, 121] and len(content["table"]) == 45
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


def configs(name: str) -> dict[str, dict[str, Any]]:
    """The configurations of a packaged study's runs under one seed, without provenance; validated."""
    study = expand(PACKAGED / f"{name}.yaml", seeds=[20])
    return {run: {k: v for k, v in one.config.items() if k != "provenance"} for run, one in study.runs.items()}


def differing(runs: Iterable[Mapping[str, Any]]) -> set[str]:
    first, *rest = runs
    return {key for run in rest for key in first if run[key] != first[key]}


def test_the_algorithms_differ_in_nothing_else() -> None:
    runs = configs("algorithm")
    online = {f"{a}-{r}-seed=20" for a in ALGORITHMS for r in REGULARIZERS}
    assert runs.keys() == online | {"sft-seed=20", "reward_model-seed=20"}
    assert differing(runs[name] for name in sorted(online)) == {"advantage", "loss", "regularizers"}
    for regularizer in REGULARIZERS:
        assert len({str(runs[f"{a}-{regularizer}-seed=20"]["regularizers"]) for a in ALGORITHMS}) == 1


def test_each_detail_changes_one_thing() -> None:
    runs = configs("implementation-details")
    for lr in ("5e-4", "2e-5"):
        plain = runs[f"plain-lr={lr}-seed=20"]
        changed = {detail: differing([plain, runs[f"{detail}-lr={lr}-seed=20"]]) for detail in DETAILS}
        assert changed == {
            "sentinel": {"regularizers"},
            "missing-eos-replace": {"missing_eos"},
            "missing-eos-keep": {"missing_eos"},
            "advantage-grpo": {"advantage"},
            "advantage-whitened": {"advantage"},
            "bonus-temperature-1": {"regularizers"},
            "temperature-1": {"temperature"},
        }
    assert len(runs) == 2 + 2 * (1 + len(DETAILS))


def test_offline_runs_on_few_and_on_many_pairs_make_the_same_updates() -> None:
    runs = configs("preference-data")
    assert len(runs) == 1 + 4 * (1 + 3 + 2 * 2)
    for loss in OFFLINE:
        few, many = (
            runs[f"{loss}-{number}-reward_model-{number}.label_scale=8-lr=1e-3-seed=20"] for number in (1000, 8000)
        )
        assert (
            few["epochs"] * (1000 // few["batch_size"]) == 248 and many["epochs"] * (8000 // many["batch_size"]) == 250
        )
        assert differing([few, many]) == {"epochs", "pairs", "reward_model"}
    for kind in ONLINE:
        pair = [runs[f"{kind}-{number}-reward_model-{number}.label_scale=8-seed=20"] for number in (1000, 8000)]
        assert differing(pair) == {"reward_model"}

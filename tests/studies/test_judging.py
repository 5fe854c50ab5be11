"""A study with a judge: it judges what has ended, once, and its report shows it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny import Chain

from overopt import cli
from overopt.errors import ConfigError
from overopt.evaluation.judges import judge_from
from overopt.records import load_run
from overopt.scheduler import Job, Result
from overopt.studies.expand import ExpandedStudy, SingleRun
from overopt.studies.judging import judged_runs, waiting
from overopt.studies.run import StudyRun
from overopt.studies.study import load_study
from overopt.training.train import train

EXTRACTIVE = Path(__file__).parents[2] / "examples" / "own" / "my_judge.py"
STUDY = f"judge: {{name: '{EXTRACTIVE}:Extractive', margin: 0.1}}\nruns: {{a: {{stage: sft, lr: 1e-3}}}}\n"


def study_of(chain: Chain, out: Path) -> StudyRun:
    """An online run that has ended, a reward model, and an offline run that has not begun."""
    config = tiny.online(chain, checkpoint_every=3)
    train(config, out / "runs" / "kl")
    runs = {"kl": config, "rm": tiny.reward_model(chain), "dpo": tiny.offline(chain)}
    single = {name: SingleRun(name, config, (), 1.0) for name, config in runs.items()}
    return StudyRun(ExpandedStudy("s", "s", single), out, {"study": "s", "sweep": True}, "s", tuple(single))


def test_each_ended_policy_is_judged_once_by_each_judge(chain: Chain, tmp_path: Path) -> None:
    study_run = study_of(chain, tmp_path)
    kl = tmp_path / "runs" / "kl"
    assert judged_runs(study_run) == [kl]
    mild, strict = (judge_from(f"{{name: '{EXTRACTIVE}:Extractive', margin: {margin}}}") for margin in (0.1, 0.0))
    ((path, request),) = waiting(study_run, mild)
    assert path == kl
    rows = request.run(path)
    assert [row["step"] for row in rows] == [0, 3]
    assert list(waiting(study_run, mild)) == []
    assert [path for path, _ in waiting(study_run, strict)] == [kl], "with another setting it is another judge"


def test_a_study_that_has_trained_nothing_has_nothing_to_judge(tmp_path: Path) -> None:
    study = ExpandedStudy("s", "s", {"kl": SingleRun("kl", {"stage": "online", "seed": 0}, (), 1.0)})
    assert list(waiting(StudyRun(study, tmp_path, {}, "s", ("kl",)), judge_from("gold"))) == []


def test_the_judge_of_a_file_is_checked_like_every_choice(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(STUDY)
    assert getattr(load_study(file).judge, "margin", None) == 0.1
    file.write_text(STUDY.replace("margin: 0.1", "margin: -1"))
    with pytest.raises(ConfigError, match=r"study.yaml:1: judge.margin: must be"):
        load_study(file)
    file.write_text("judge: {name: opena, model: m}\nruns: {a: {stage: sft}}\n")
    with pytest.raises(ConfigError, match=r"study.yaml:1: judge.name: unknown name 'opena'.*openai"):
        load_study(file)


@pytest.mark.parametrize("verb", ["sweep", "study"])
def test_the_command_judges_and_reports(
    verb: str, chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """After the runs, once; the same command again finds everything done."""
    monkeypatch.setattr("overopt.studies.run.run_jobs", _in_this_process)
    file, out = tmp_path / "s.yaml", tmp_path / "out"
    settings = tiny.online(chain, checkpoint_every=3)
    file.write_text(json.dumps({"judge": f"{EXTRACTIVE}:Extractive", "runs": {"kl": settings}}))  # is YAML, too
    command = [verb, str(file), "--out", str(out), "--workers", "1"]
    assert cli.main(command) == 0
    assert re.search(r"^judge extractive \(hash \w+\), against reference", capsys.readouterr().out, re.M)
    (run,) = map(load_run, (out / "runs").iterdir())
    (judge,) = [name for name in run.judges() if "extractive" in name]
    assert [row["step"] for row in run.evaluations(judge)] == [0, 3]
    assert "extractive" in (out / "report.html").read_text("utf-8")
    assert cli.main(command) == 0
    assert "judge " not in capsys.readouterr().out


def _in_this_process(jobs: list[Job], **options: Any) -> dict[str, Result]:
    for job in jobs:
        train(job.config, job.out)
    return {job.name: Result("finished") for job in jobs}


def test_a_judge_without_a_key_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from overopt.evaluation.judges import openai

    monkeypatch.setitem(sys.modules, "openai", openai)  # any module stands for the SDK
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    file = tmp_path / "s.yaml"
    file.write_text("judge: {name: openai, model: m}\nruns: {a: {stage: sft, lr: 1e-3}}\n")
    assert cli.main(["sweep", str(file), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "set OPENAI_API_KEY" in said and "or train now and judge later: --judge none" in said
    assert not (tmp_path / "out").exists()

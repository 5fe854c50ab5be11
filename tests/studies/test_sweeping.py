"""A sweep with a fake training function in real worker processes: order, gates, failures, going on, and its table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from overopt.errors import UserError
from overopt.scheduler import Event, Noticed, Result
from overopt.studies.study import Gate, Study
from overopt.studies.sweeping import claim_sweep, conclude_sweep, run_sweep, sweep_jobs

ONLINE = {"stage": "online", "policy": "runs/sft", "reward_model": "runs/rm", "lr": 1e-4}
STUDY = Study(
    name="little",
    runs={
        "sft": {"stage": "sft"},
        "rm": {"stage": "reward_model", "policy": "runs/sft", "seed": 0},
        "kl-seed=0": {**ONLINE, "regularizers": [{"name": "kl", "coef": 0.2}]},
        "none-seed=0": {**ONLINE, "regularizers": []},
        "lone": {"stage": "sft"},
    },
    gates=(Gate(run="rm", value="agreement_ratio", at_least=0.8),),
)


def with_seed(seed: int) -> Study:
    return replace(STUDY, runs=STUDY.runs | {"rm": {**STUDY.runs["rm"], "seed": seed}})


def test_it_runs_judges_and_goes_on_where_it_was(tmp_path: Path) -> None:
    claim_sweep(STUDY, tmp_path)
    results = run_sweep(STUDY, tmp_path, workers=2, train="fake_study:train")
    assert {result.status for result in results.values()} == {"finished"}
    rows = conclude_sweep(STUDY, tmp_path, results)
    assert [(row.run, row.objective, row.label) for row in rows] == [
        ("kl-seed=0", "kl", "GOOD"), ("none-seed=0", "none", "OVER"), ("lone", "sft", None),
    ]  # fmt: skip
    assert [row["run"] for row in json.loads((tmp_path / "summary.json").read_text())] == [row.run for row in rows]

    grown = replace(STUDY, runs=STUDY.runs | {"kl-seed=1": {**STUDY.runs["kl-seed=0"], "seed": 1}})
    claim_sweep(grown, tmp_path)
    assert [row.run for row in conclude_sweep(grown, tmp_path, {})] == [row.run for row in rows], "not run yet: no row"
    events: list[Event] = []
    results = run_sweep(grown, tmp_path, workers=2, train="fake_study:train", on_event=events.append)
    assert {event.job for event in events if isinstance(event, Noticed)} == set(STUDY.runs), "all these were left alone"
    assert [row.label for row in conclude_sweep(grown, tmp_path, results)] == ["GOOD", "OVER", None, "GOOD"]


def test_behind_a_gate_nothing_is_run(tmp_path: Path) -> None:
    study = with_seed(7)
    claim_sweep(study, tmp_path)
    results = run_sweep(study, tmp_path, workers=2, train="fake_study:train")
    gate = "a gate (rm.agreement_ratio is 0.500, below the gate's 0.8)"
    skipped = Result("skipped", f"not run, because {gate} failed")
    assert results == {
        "sft": Result("finished"), "rm": Result("finished"), "kl-seed=0": skipped, "none-seed=0": skipped,
        "lone": Result("finished"),
    }  # fmt: skip
    assert not (tmp_path / "runs/kl-seed=0").exists()
    assert conclude_sweep(study, tmp_path, results)[0].reason == skipped.message


def test_a_failed_run_takes_down_its_descendants_only(tmp_path: Path) -> None:
    study = with_seed(13)
    claim_sweep(study, tmp_path)
    results = run_sweep(study, tmp_path, workers=2, train="fake_study:train")
    assert [result.status for result in results.values()] == ["finished", "failed", "skipped", "skipped", "finished"]


def test_a_directory_of_another_study_is_refused(tmp_path: Path) -> None:
    claim_sweep(STUDY, tmp_path)
    with pytest.raises(UserError, match="holds the study 'little'; name another directory"):
        claim_sweep(replace(STUDY, name="other"), tmp_path)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/study.json").write_text('{"study": "little", "scale": "s"}')
    with pytest.raises(UserError, match="holds the study 'little'"):
        claim_sweep(STUDY, tmp_path / "demo")


def test_jobs_are_in_the_directory(tmp_path: Path) -> None:
    assert [job.out for job in sweep_jobs(STUDY, tmp_path)] == [tmp_path / "runs" / run for run in STUDY.runs]

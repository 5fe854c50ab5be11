"""Rows, `summary.json`, figure and report of studies whose records a fake training function left."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from fake_study import RESULTS
from little_study import JUDGED, little, run

from overopt.analysis.run_summary import SUMMARY_FIELDS
from overopt.config import to_yaml
from overopt.records import load_run
from overopt.scheduler import Result
from overopt.studies import run as run_module
from overopt.studies.run import PACKAGED, claim_folder, packaged_run, run_studies
from overopt.studies.study import load_study
from overopt.studies.summary import baseline_lines, draw_figure, summarize, write_study_report


def test_the_demo_is_judged_summarized_and_drawn(tmp_path: Path) -> None:
    demo = packaged_run("demo", tmp_path / "demo", "xs", 0)
    rows = summarize(demo, run(demo))
    assert [row.run for row in rows] == JUDGED
    labels = {row.run: row.label for row in rows}
    assert labels == {run: "GOOD" if run.startswith(("kl", "simpo")) else "OVER" for run in JUDGED}

    summary = json.loads((demo.out / "summary.json").read_text())
    assert [tuple(row) for row in summary] == [SUMMARY_FIELDS] * 7
    assert summary[0] == {
        "run": "kl", "objective": "kl", "coefficient": 0.2, "lr": 5e-4, "label": "GOOD",
        "win_rate": 0.8, "win_rate_low": 0.8 - 0.1, "win_rate_high": 0.8 + 0.1, "sft_win_rate": 0.4,
        "proxy_start": 0.0, "proxy_end": 1.0, "gold_start": -1.0, "gold_end": -1.0, "kl_ref": 2.0, "gate": None,
        "other_judges": {},
    }  # fmt: skip
    assert (summary[5]["objective"], summary[5]["coefficient"]) == ("simpo", 2.0)
    assert RESULTS["kl"] == (32, 1.0), "of 40"
    assert baseline_lines(demo) == [
        "reward_model: orders 80% of the held-out pairs as gold; counting reaches 70% (words), "
        "5.0 standard errors below"
    ]
    assert summarize(demo, {}) == rows, "what was made before has its row"

    svg, png = draw_figure(replace(demo, title="A study"), rows)
    assert all(name in svg.read_text() for name in [*JUDGED, "A study"])
    assert png.read_bytes().startswith(b"\x89PNG")
    assert write_study_report(demo) == demo.out / "report.html"
    assert (demo.out / "report_figures/online-curves.svg").is_file()

    empty = replace(demo, out=tmp_path / "empty")
    assert draw_figure(empty, rows) == []
    (tmp_path / "empty/runs").mkdir(parents=True)
    assert write_study_report(empty) is None


def test_gates_and_failures_are_the_reason_for_no_label(tmp_path: Path) -> None:
    demos = {seed: packaged_run("demo", tmp_path / str(seed), "xs", seed, f"{seed}/") for seed in (7, 8, 13)}
    rows = {}
    run(*demos.values(), on_done=lambda demo, ended: rows.update({demo.claim["seed"]: summarize(demo, ended)}))
    assert {(row.label, row.gate) for row in rows[7]} == {(None, "reward_model.agreement_ratio")}
    assert rows[7][0].reason == "reward_model.agreement_ratio is 0.500, below the gate's 0.8"
    assert rows[7][0].win_rate == 0.8, "the numbers are there, only the verdict is not"
    assert {(row.label, row.gate) for row in rows[8]} == {(None, "reward_model.above_baselines")}
    assert rows[8][0].reason == "reward_model.above_baselines is 1.500, below the gate's 2"
    reason = "not run, because 13/reward_model failed"
    assert {(row.label, row.gate, row.reason) for row in rows[13]} == {(None, None, reason)}
    assert rows[13][0].win_rate is None


def test_a_failed_run_says_why(tmp_path: Path) -> None:
    demo = packaged_run("demo", tmp_path, "xs", 0)
    claim_folder(demo)
    rows = summarize(demo, dict.fromkeys(demo.study.runs, Result("failed", "the disk is full")))
    assert {row.reason for row in rows} == {"the run failed: the disk is full"}


def test_a_sweep_has_a_row_for_each_judged_run_and_each_without_children(tmp_path: Path) -> None:
    study_run = little(tmp_path)
    rows = summarize(study_run, run(study_run))
    assert [(row.run, row.objective, row.label) for row in rows] == [
        ("kl-seed=0", "kl", "GOOD"), ("none-seed=0", "none", "OVER"), ("lone", "sft", None),
    ]  # fmt: skip
    assert [row["run"] for row in json.loads((tmp_path / "summary.json").read_text())] == [row.run for row in rows]
    more = {"kl-seed=1": replace(study_run.study.runs["kl-seed=0"], name="kl-seed=1")}
    grown = replace(study_run, study=replace(study_run.study, runs={**study_run.study.runs, **more}))
    assert summarize(grown, {}) == rows, "a run that was not made yet has no row"


TINY = {
    "*": {"task.evaluation_count": 8, "task.demonstration_count": 64, "task.reward_test_count": 16},
    "sft": {"model.hidden_size": 8, "model.layers": 1, "steps": 2, "checkpoint_every": 2},
    "reward_model": {"pairs.count": 64, "epochs": 1},
    "online": {"total_episodes": 16, "episodes_per_update": 8, "epochs": 1, "checkpoint_every": 2},
    "offline": {"checkpoint_every": 2},
}


def test_the_real_stages_follow_the_study(tmp_path: Path, monkeypatch: Any) -> None:
    """Two steps of everything: nothing is learnt, so a gate speaks; every number that needs no learning is there."""
    source = load_study(PACKAGED / "demo.yaml")
    (tmp_path / "demo.yaml").write_text(to_yaml(replace(source, scales={**source.scales, "tiny": TINY})))
    monkeypatch.setattr(run_module, "PACKAGED", tmp_path)
    demo = packaged_run("demo", tmp_path / "out", "tiny", 100)
    results = run_studies([demo], workers=2)
    assert {name: result.status for name, result in results.items()} == dict.fromkeys(demo.study.runs, "finished")
    rows = summarize(demo, results)
    assert [row.run for row in rows] == JUDGED
    assert {(row.label, row.gate) for row in rows} == {(None, "sft.win_rate")}
    for row in rows:
        assert None not in (row.win_rate, row.sft_win_rate, row.proxy_start, row.proxy_end, row.gold_end, row.kl_ref)
    kl = load_run(demo.out / "runs/kl")
    assert kl.sample_steps() == [0, 2]
    assert kl.info["split"] == "test", "seeds from 100 on"
    assert kl.info["threads"] == 1
    assert kl.info["provenance"]["lr"] == "our choice"

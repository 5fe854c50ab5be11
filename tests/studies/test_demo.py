"""The miniature study with a fake training function in real worker processes; its configs against the real stages."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_study import RESULTS

from overopt.analysis.run_summary import SUMMARY as FIELDS
from overopt.analysis.run_summary import RunSummary
from overopt.config import load
from overopt.errors import UserError
from overopt.records import load_run
from overopt.scheduler import Event, Noticed, Result
from overopt.studies.demo import Setting, claim, conclude, demo_study, draw, report_on, run_settings, said_of_proxies

RUNS = ["kl", "none", "maxent-0.5", "maxent-2", "maxent-0.5-low-lr", "simpo-low-lr", "simpo-high-lr"]


def run(out: Path, seeds: list[int], **options: Any) -> dict[int, list[RunSummary]]:
    settings = [Setting(out / str(seed), "xs", seed, f"{seed}/") for seed in seeds]
    done: dict[int, list[RunSummary]] = {}

    def keep(setting: Setting, rows: list[RunSummary], results: dict[str, Result]) -> None:
        done[setting.seed] = rows

    run_settings(demo_study(), settings, workers=2, train="fake_study:train", on_done=keep, **options)
    return done


def test_every_config_is_valid_at_every_scale() -> None:
    from overopt.training.stages import STAGES

    study = demo_study()
    assert list(study.scales) == ["s", "xs", "m"]
    assert study.default_scale == "s"
    for scale in study.scales:
        for job in study.jobs(Path("out"), scale, 0):
            stage = load(STAGES, job.config)
            assert stage.stage == job.stage
            assert stage.provenance.keys() >= {"lr"}
    assert [run for run, config in study.runs.items() if config["stage"] in ("online", "offline")] == RUNS


def test_the_scales_have_the_measured_settings() -> None:
    study = demo_study()
    low = {scale: study.config("maxent-0.5-low-lr", scale, 0)["lr"] for scale in study.scales}
    high = {scale: study.config("maxent-0.5", scale, 0)["lr"] for scale in study.scales}
    assert low == {"xs": 1.5e-5, "s": 2e-5, "m": 1e-5}
    assert high == {"xs": 5e-4, "s": 5e-4, "m": 2.5e-4}
    assert {study.config("reward_model", scale, 0)["epochs"] for scale in ("xs", "s")} == {2}
    assert study.config("reward_model", "m", 0)["epochs"] == 1


def test_it_runs_judges_goes_on_where_it_was_and_draws(tmp_path: Path) -> None:
    rows = run(tmp_path, [0])[0]
    assert [row.run for row in rows] == RUNS
    labels = {row.run: row.label for row in rows}
    assert labels == {run: "GOOD" if run.startswith(("kl", "simpo")) else "OVER" for run in RUNS}

    summary = json.loads((tmp_path / "0/summary.json").read_text())
    assert [tuple(row) for row in summary] == [FIELDS] * 7
    assert summary[0] == {
        "run": "kl", "objective": "kl", "coefficient": 0.2, "lr": 5e-4, "label": "GOOD",
        "win_rate": 0.8, "win_rate_low": 0.8 - 0.1, "win_rate_high": 0.8 + 0.1, "sft_win_rate": 0.4,
        "proxy_start": 0.0, "proxy_end": 1.0, "gold_start": -1.0, "gold_end": -1.0, "kl_ref": 2.0, "gate": None,
    }  # fmt: skip
    assert RESULTS["kl"] == (32, 1.0), "of 40"
    assert said_of_proxies(demo_study(), Setting(tmp_path / "0", "xs", 0)) == [
        "reward_model: orders 80% of the held-out pairs as gold; counting reaches 70% (words), "
        "5.0 standard errors below"
    ]

    events: list[Event] = []
    again = run(tmp_path, [0], on_event=events.append)[0]
    assert again == rows
    assert len([event for event in events if isinstance(event, Noticed)]) == 9, "all were left alone"

    svg, png = draw(Setting(tmp_path / "0", "xs", 0), rows, "A study")
    assert all(name in svg.read_text() for name in [*RUNS, "A study"])
    assert png.read_bytes().startswith(b"\x89PNG")
    assert draw(Setting(tmp_path / "empty", "xs", 0), rows, "A study") == []

    assert report_on(Setting(tmp_path / "0", "xs", 0), "A study") == tmp_path / "0/report.html"
    assert (tmp_path / "0/report_figures/online-curves.svg").is_file()
    (tmp_path / "empty/runs").mkdir(parents=True)
    assert report_on(Setting(tmp_path / "empty", "xs", 0), "A study") is None


def test_seeds_run_side_by_side_and_gates_and_failures_say_so(tmp_path: Path) -> None:
    done = run(tmp_path, [7, 13])
    gated, failed = done[7], done[13]
    counted = run(tmp_path, [8])[8]
    assert {(row.label, row.gate) for row in counted} == {(None, "reward_model.above_baselines")}
    assert counted[0].reason == "reward_model.above_baselines is 1.500, below the gate's 2"
    assert {(row.label, row.gate) for row in gated} == {(None, "reward_model.agreement_ratio")}
    assert gated[0].reason == "reward_model.agreement_ratio is 0.500, below the gate's 0.8"
    assert gated[0].win_rate == 0.8, "the numbers are there, only the verdict is not"
    assert {(row.label, row.gate, row.reason) for row in failed} == {
        (None, None, "not run, because 13/reward_model failed")
    }
    assert failed[0].win_rate is None


def test_a_directory_of_another_setting_is_refused_and_untouched(tmp_path: Path) -> None:
    study = demo_study()
    out = tmp_path / "a/b"
    claim(study, Setting(out, "xs", 0))
    claim(study, Setting(out, "xs", 0))
    before = (out / "study.json").read_text()
    with pytest.raises(UserError, match="was made with --scale xs --seed 0, not --scale s --seed 3; name another dir"):
        claim(study, Setting(out, "s", 3))
    assert (out / "study.json").read_text() == before
    (out / "study.json").write_text(before.replace('"fingerprint": "', '"fingerprint": "0'))
    with pytest.raises(UserError, match="another version of the study"):
        claim(study, Setting(out, "xs", 0))


def test_a_file_or_a_directory_with_others_results_is_refused(tmp_path: Path) -> None:
    study = demo_study()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is a file; name a directory"):
        claim(study, Setting(tmp_path / "file", "xs", 0))
    with pytest.raises(UserError, match="cannot be made"):
        claim(study, Setting(tmp_path / "file" / "below", "xs", 0))
    (tmp_path / "runs").mkdir()
    with pytest.raises(UserError, match="holds runs, which this study did not make"):
        claim(study, Setting(tmp_path, "xs", 0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "runs"]


def test_a_failed_run_says_why(tmp_path: Path) -> None:
    study = demo_study()
    setting = Setting(tmp_path, "xs", 0)
    claim(study, setting)
    results = dict.fromkeys(study.runs, Result("failed", "the disk is full"))
    rows = conclude(study, setting, results)
    assert {row.reason for row in rows} == {"the run failed: the disk is full"}


TINY = {
    "*": {"task.evaluation_count": 8, "task.demonstration_count": 64, "task.reward_test_count": 16},
    "sft": {"model.hidden_size": 8, "model.layers": 1, "steps": 2, "checkpoint_every": 2},
    "reward_model": {"pairs.count": 64, "epochs": 1},
    "online": {"total_episodes": 16, "episodes_per_update": 8, "epochs": 1, "checkpoint_every": 2},
    "offline": {"checkpoint_every": 2},
}


def test_the_real_stages_follow_the_study(tmp_path: Path) -> None:
    """Two steps of everything: nothing is learnt, so a gate speaks; every number that needs no learning is there."""
    study = demo_study()
    study = replace(study, scales={**study.scales, "tiny": TINY})
    setting = Setting(tmp_path, "tiny", 100)
    results = run_settings(study, [setting], workers=2)
    assert {run: result.status for run, result in results.items()} == dict.fromkeys(study.runs, "finished")
    rows = conclude(study, setting, results)
    assert [row.run for row in rows] == RUNS
    assert {(row.label, row.gate) for row in rows} == {(None, "sft.win_rate")}
    for row in rows:
        assert None not in (row.win_rate, row.sft_win_rate, row.proxy_start, row.proxy_end, row.gold_end, row.kl_ref)
    kl = load_run(tmp_path / "runs/kl")
    assert kl.sample_steps() == [0, 2]
    assert kl.info["split"] == "test", "seeds from 100 on"
    assert kl.info["threads"] == 1
    assert kl.info["provenance"]["lr"] == "our choice"

"""Studies with a fake training function in real worker processes: claims, order, gates, failures, and going on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from little_study import ONLINE, little, run, single

from overopt.config import load
from overopt.errors import UserError
from overopt.scheduler import Event, Result
from overopt.scheduler.jobs import Noticed
from overopt.studies.run import (
    PACKAGED,
    claim_folder,
    list_studies,
    packaged_run,
    plan_members,
    replication_run,
    sweep_run,
)
from overopt.studies.study import load_study


def test_every_config_of_the_demo_is_valid_at_every_scale(tmp_path: Path) -> None:
    from overopt.training.stages import STAGES

    study = load_study(PACKAGED / "demo.yaml")
    assert list(study.scales) == ["s", "xs", "m"]
    assert study.default_scale == "s"
    for scale in study.scales:
        for job in packaged_run("demo", tmp_path, scale, 3).jobs:
            stage = load(STAGES, job.config)
            assert stage.stage == job.stage
            assert stage.seed == 3
            assert stage.provenance.keys() >= {"lr"}


def test_the_scales_of_the_demo_have_the_measured_settings() -> None:
    study = load_study(PACKAGED / "demo.yaml")
    low = {scale: study.config("maxent-0.5-low-lr", scale, 0)["lr"] for scale in study.scales}
    high = {scale: study.config("maxent-0.5", scale, 0)["lr"] for scale in study.scales}
    assert low == {"xs": 1.5e-5, "s": 2e-5, "m": 1e-5}
    assert high == {"xs": 5e-4, "s": 5e-4, "m": 2.5e-4}
    assert {study.config("reward_model", scale, 0)["epochs"] for scale in ("xs", "s")} == {2}
    assert study.config("reward_model", "m", 0)["epochs"] == 1


def test_jobs_lie_in_the_folder_and_name_their_parents_there(tmp_path: Path) -> None:
    study_run = replace(little(tmp_path), prefix="4/", chosen=("sft", "rm"))
    sft, rm = study_run.jobs
    assert (sft.name, sft.parents, sft.out) == ("4/sft", (), tmp_path / "runs/sft")
    assert (rm.name, rm.parents, rm.config["policy"]) == ("4/rm", ("4/sft",), str(tmp_path / "runs/sft"))


def test_a_packaged_study_has_a_folder_a_title_and_a_claim() -> None:
    demo = packaged_run("demo", None, seed=4)
    assert demo.out == Path("overopt-demo/s-seed-4")
    assert demo.title == "Miniature study, scale s, seed 4"
    fingerprint = load_study(PACKAGED / "demo.yaml").fingerprint("s", 4)
    assert demo.claim == {"study": "demo", "scale": "s", "seed": 4, "fingerprint": fingerprint}


STUDY = "maxent-failure-modes"


def test_the_papers_study_has_its_rows_at_three_sizes(tmp_path: Path) -> None:
    study = replication_run(STUDY, None, None, [30, 31])
    assert study.out == Path("overopt-maxent-failure-modes/miniature")
    runs = study.study.runs
    assert len(runs) == 156 and {run.seed for run in runs.values()} == {30, 31}
    coefs = [run.setting for run in runs.values() if run.row == "ME-2.8B-5e-8" and run.seed == 30]
    assert coefs == [{"coef": 0}, {"coef": 0.1}, {"coef": 0.5}, {"coef": 1.0}]
    low = runs["ME-6.9B-1e-7-coef=0.5-seed=31"]
    assert low.parents == ("SFT-6.9B-seed=31", "RM-6.9B-seed=31") and low.setting == {"coef": 0.5}
    hidden = {run.row: run.config["model"]["hidden_size"] for run in runs.values() if run.row.startswith("SFT")}
    assert hidden == {"SFT-1B": 40, "SFT-2.8B": 64, "SFT-6.9B": 128}


def test_quick_runs_each_row_once_with_one_size() -> None:
    quick, full = replication_run(STUDY, None, "quick", None), replication_run(STUDY, None, None, [110])
    rows = [run.row for run in quick.study.runs.values()]
    assert rows == list(dict.fromkeys(run.row for run in full.study.runs.values()))
    sizes = {r.config["model"]["hidden_size"] for r in quick.study.runs.values() if r.row.startswith("SFT")}
    assert sizes == {40} and {run.seed for run in quick.study.runs.values()} == {110}


def test_at_the_scale_pythia_the_rows_have_the_papers_models_data_and_learning_rates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pythia = replication_run(STUDY, None, "pythia", None).study
    assert {run.row for run in pythia.runs.values()} == {
        run.row for run in replication_run(STUDY, None, None, [110]).study.runs.values()
    }
    config = {name.removesuffix("-seed=110"): run.config for name, run in pythia.runs.items()}
    paths = {name: config[f"SFT-{name}"]["model"]["path"] for name in ("1B", "2.8B", "6.9B")}
    assert paths == {name: f"hf://EleutherAI/pythia-{name.lower()}-deduped" for name in paths}
    assert {name: config[name]["lr"] for name in config if "coef" not in name and "gamma" not in name} == {
        **dict.fromkeys(("SFT-1B", "SFT-2.8B", "SFT-6.9B", "RM-1B", "RM-2.8B", "RM-6.9B", "HH-SFT", "HH-RM"), 3e-6),
        **dict.fromkeys(("KL-1B", "KL-2.8B", "KL-6.9B", "DPO-1B"), 1e-6),
        **{name: 1e-6 for name in config if name.startswith("CHI")},
        **{name: 1e-7 for name in config if name.startswith("CLIP")},
        "ME-1B-proportions-lr=5e-8": 5e-8, "HH-DPO": 5e-7,
    }  # fmt: skip
    named = {name: float(rate) for name in config for rate in ("1e-6", "1e-7", "5e-8", "2e-7") if f"-{rate}-" in name}
    assert len(named) == 12 + 14 + 12 + 9 and {name: config[name]["lr"] for name in named} == named
    grid = sorted(run.setting["coef"] for run in pythia.runs.values() if run.row == "ME-6.9B-1e-7")
    assert grid == [0, 0.01, 0.05, 0.1, 0.5, 1.0]
    assert [run.setting["coef"] for run in pythia.runs.values() if run.row == "KL-relaxed-1B"] == [0.01, 0.03, 0.1]
    assert (config["KL-1B"]["regularizers"], config["KL-1B"]["total_episodes"]) == ([{"name": "kl", "coef": 0.05}], 1e6)
    alphas = {name: config[name]["loss"]["alpha"] for name in config if name.startswith("SIMPO")}
    assert {alpha for name, alpha in alphas.items() if "alpha" in name} == {0.1}
    assert {alpha for name, alpha in alphas.items() if "alpha" not in name} == {2.0}
    tasks = {name: config[name]["task"] for name in ("KL-1B", "RM-1B", "HH-DPO")}
    assert {name: (task["path"].rpartition("/")[2], task["split"], task["evaluation_split"]) for name, task in
            tasks.items()} == {
        "KL-1B": ("summarize_from_feedback_tldr_3_filtered_oai_preprocessing_1706381144", "train", "validation"),
        "RM-1B": ("summarize_from_feedback_oai_preprocessing_1706381144", "train", "validation"),
        "HH-DPO": ("hh-rlhf", "train", "test"),
    }  # fmt: skip
    assert all(run["compute"]["device"] == "cuda" and run["compute"]["precision"] == "bf16" for run in config.values())
    assert {(gate.run[:2], gate.value) for gate in pythia.gates} == {("RM", "above_baselines")}, "nothing judges here"


def test_rows_are_chosen_with_their_parents() -> None:
    part = replication_run(STUDY, None, None, [110], ["KL-1B", "ME-2.8B-1e-7-coef=0-*"])
    assert part.chosen == (
        "SFT-1B-seed=110", "SFT-2.8B-seed=110", "RM-1B-seed=110", "RM-2.8B-seed=110", "KL-1B-seed=110",
        "ME-2.8B-1e-7-coef=0-seed=110",
    )  # fmt: skip
    with pytest.raises(UserError, match="--only KL-1C: matches no run of maxent-failure-modes .did you mean 'KL-1B'"):
        replication_run(STUDY, None, None, [110], ["KL-1C"])


def test_members_of_a_folder_grow_with_its_seeds(tmp_path: Path) -> None:
    for seed in (30, 31):
        study = replication_run("demo", tmp_path / "demo", "xs", [seed])
        claim_folder(study)
        plan_members(study)
    plan = json.loads((tmp_path / "demo/members.json").read_text())
    assert (plan["study"], plan["scale"], len(plan["runs"])) == ("demo", "xs", 18)
    last = plan["runs"]["kl-seed=31"]
    assert (last["row"], last["setting"], last["seed"]) == ("kl", {}, 31)
    assert last["gates"][0] == {"run": "sft-seed=31", "value": "win_rate", "at_least": 0.3}
    assert len(study.study.runs) == 18 and {study.study.runs[run].seed for run in study.chosen} == {31}


def test_studies_are_listed_and_others_refused() -> None:
    assert any(line.split()[:3] == ["demo", "Miniature", "study"] for line in list_studies().splitlines())
    with pytest.raises(UserError, match="demon: no such study, nor a YAML file .did you mean 'demo'"):
        replication_run("demon", None, None, None)


def test_a_study_of_ones_own_is_a_file(tmp_path: Path) -> None:
    text = (PACKAGED / "demo.yaml").read_text().replace("name: demo", "name: mine")
    (tmp_path / "my.yaml").write_text(text.replace("runs:\n", "runs:\n  kl-1: {stage: online, lr: 1e-4}\n", 1))
    study = replication_run(str(tmp_path / "my.yaml"), None, "xs", [7])
    assert study.out == Path("overopt-mine/xs") and study.claim["study"] == "mine"
    assert study.study.runs["kl-1-seed=7"].row == "kl-1"


def test_a_folder_of_another_scale_set_is_refused_in_its_flags(tmp_path: Path) -> None:
    claim_folder(replication_run(STUDY, tmp_path, "quick", None))
    with pytest.raises(UserError, match="was made with --scale-set quick, not --scale-set miniature"):
        claim_folder(replication_run(STUDY, tmp_path, None, None))


def test_it_runs_and_goes_on_where_it_was(tmp_path: Path) -> None:
    assert {result.status for result in run(little(tmp_path)).values()} == {"finished"}
    events: list[Event] = []
    child = single("kl-seed=1", ("sft", "rm"), **ONLINE | {"seed": 1}, regularizers=[{"name": "kl", "coef": 0.2}])
    results = run(little(tmp_path, 0, child), on_event=events.append)
    assert list(results)[-1] == "kl-seed=1"
    assert {event.job for event in events if isinstance(event, Noticed)} == set(list(results)[:-1]), "left alone"


def test_behind_a_closed_gate_nothing_is_run(tmp_path: Path) -> None:
    results = run(little(tmp_path, seed=7))
    skipped = Result("skipped", "not run, because a gate (rm.agreement_ratio is 0.500, below the gate's 0.8) failed")
    assert results == {
        "sft": Result("finished"), "rm": Result("finished"), "kl-seed=0": skipped, "none-seed=0": skipped,
        "lone": Result("finished"),
    }  # fmt: skip
    assert not (tmp_path / "runs/kl-seed=0").exists()


def test_a_failed_run_takes_down_its_descendants_only(tmp_path: Path) -> None:
    results = run(little(tmp_path, seed=13))
    assert [result.status for result in results.values()] == ["finished", "failed", "skipped", "skipped", "finished"]


def test_studies_run_side_by_side_and_each_is_reported_when_it_is_done(tmp_path: Path) -> None:
    studies = [packaged_run("demo", tmp_path / str(seed), "xs", seed, f"{seed}/") for seed in (7, 13)]
    done: dict[Any, dict[str, Result]] = {}
    results = run(*studies, on_done=lambda study, ended: done.update({study.claim["seed"]: ended}))
    assert {name: result.status for name, result in done[7].items()} == dict.fromkeys(studies[0].study.runs, "finished")
    assert done[13]["kl"] == results["13/kl"] == Result("skipped", "not run, because 13/reward_model failed")
    assert studies[0].closed_gate("kl") is not None, "the demo's gates stop no run"


def test_a_folder_of_another_study_scale_or_seed_is_refused_and_untouched(tmp_path: Path) -> None:
    out = tmp_path / "a/b"
    claim_folder(packaged_run("demo", out, "xs", 0))
    claim_folder(packaged_run("demo", out, "xs", 0))
    before = (out / "study.json").read_text()
    with pytest.raises(UserError, match="was made with --scale xs --seed 0, not --scale s --seed 3; name another dir"):
        claim_folder(packaged_run("demo", out, "s", 3))
    assert (out / "study.json").read_text() == before
    (out / "study.json").write_text(before.replace('"fingerprint": "', '"fingerprint": "0'))
    with pytest.raises(UserError, match="another version of the study"):
        claim_folder(packaged_run("demo", out, "xs", 0))
    with pytest.raises(UserError, match="holds the study 'demo'; name another directory"):
        claim_folder(little(out))


def test_a_folder_of_another_sweep_is_refused(tmp_path: Path) -> None:
    claim_folder(little(tmp_path))
    with pytest.raises(UserError, match="holds the study 'little'; name another directory"):
        claim_folder(replace(little(tmp_path), claim={"study": "other", "sweep": True}))
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/study.json").write_text('{"study": "little", "scale": "s"}')
    with pytest.raises(UserError, match="holds the study 'little'"):
        claim_folder(little(tmp_path / "demo"))


def test_a_file_or_a_folder_with_others_results_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is a file; name a directory"):
        claim_folder(little(tmp_path / "file"))
    (tmp_path / "runs").mkdir()
    with pytest.raises(UserError, match="holds runs, which this study did not make"):
        claim_folder(little(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "runs"]


def test_a_sweep_may_choose_runs_and_their_ancestors(tmp_path: Path) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(
        "grid: {sft: {lr: [1e-3, 2e-3]}}\n"
        "runs: {sft: {stage: sft, steps: 2, lr: 1e-3, model: {name: pretrained, path: base}}}\n"
    )
    sweep = sweep_run(file, tmp_path / "out", "*lr=2e-3")
    assert (sweep.title, sweep.chosen) == ("tiny", ("sft-lr=2e-3",))
    assert [job.name for job in sweep.jobs] == ["sft-lr=2e-3"]
    assert len(sweep.study.runs) == 2

"""What is read of run directories, how it is grouped and named, and what becomes of records that are damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_runs import BETTER, WORSE, Evaluated, base_run, offline_run, online_run
from judged_again import MODEL, judge_again

from overopt.analysis.report import collect as collecting
from overopt.analysis.report.collect import collect, distinct_names
from overopt.analysis.run_summary import verdict
from overopt.errors import UserError
from overopt.records import load_run


def names(collection: collecting.Collection) -> dict[str, list[str]]:
    return {group.slug: [record.name for record in group.records] for group in collection.groups}


def test_runs_of_one_stage_and_one_set_of_prompts_are_a_group(tmp_path: Path) -> None:
    online_run(tmp_path / "runs/kl")
    online_run(tmp_path / "runs/none", WORSE)
    offline_run(tmp_path / "runs/simpo")
    base_run(tmp_path / "runs/sft")
    collection = collect([tmp_path])
    assert names(collection) == {"online": ["kl", "none"], "offline": ["simpo"]}
    assert [group.title for group in collection.groups] == [
        "Online runs, miniature task, tuning split",
        "Offline runs, miniature task, tuning split",
    ]
    assert [record.name for record in collection.bases] == ["sft"]
    assert [record.row.label for record in collection.groups[0].records] == ["GOOD", "OVER"]
    assert collection.left_out == ()


def test_runs_on_other_prompts_are_another_group(tmp_path: Path) -> None:
    online_run(tmp_path / "a")
    other = online_run(tmp_path / "b")
    lines = (other / "evaluations.jsonl").read_text()
    (other / "evaluations.jsonl").write_text(lines.replace('"prompt_set": "x"', '"prompt_set": "y"'))
    groups = collect([tmp_path]).groups
    assert [(group.title, group.slug) for group in groups] == [
        ("Online runs, miniature task, tuning split, prompts x", "online-1"),
        ("Online runs, miniature task, tuning split, prompts y", "online-2"),
    ]


def test_a_run_named_twice_is_read_once(tmp_path: Path) -> None:
    run = online_run(tmp_path / "runs/kl")
    assert names(collect([run, tmp_path, tmp_path / "runs"])) == {"online": ["kl"]}


def test_runs_of_the_same_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    for seed in (0, 1):
        online_run(tmp_path / f"seed-{seed}/runs/kl", changes={"seed": seed})
    online_run(tmp_path / "seed-0/runs/none")
    assert names(collect([tmp_path])) == {"online": ["seed-0/kl", "none", "seed-1/kl"]}


def test_a_path_within_another_still_tells_runs_apart(tmp_path: Path) -> None:
    runs = [load_run(online_run(tmp_path / folder / "kl")) for folder in ("a", "a/a", "b/a")]
    assert distinct_names(runs) == ["kl", "a/kl", "b/kl"]


def test_a_running_a_diverged_and_a_failed_run_are_marked(tmp_path: Path) -> None:
    online_run(tmp_path / "going", [Evaluated(0, 4), Evaluated(8, 5)], status=None)
    online_run(tmp_path / "broken", WORSE, status="diverged", diverged_at=21)
    online_run(tmp_path / "died", [Evaluated(0, 4)], status="failed")
    stopped = {"status": "stopped", "stopped_at": 21, "reason": "KL 12 above 10 nats", "go_back_to": 8}
    online_run(tmp_path / "ended", WORSE, **stopped)
    online_run(tmp_path / "done")
    records = {record.name: record for record in collect([tmp_path]).groups[0].records}
    assert records["going"].mark == "still running, drawn up to step 8 of 20"
    assert records["broken"].mark == "diverged at step 21"
    assert records["died"].mark == "failed after step 0"
    assert records["ended"].mark == "stopped early at step 21 (KL 12 above 10 nats); go back to step 8"
    assert records["ended"].row.label == "OVER"
    assert verdict(records["ended"].row).endswith(" Stopped early at step 21; go back to step 8.")
    assert records["done"].mark == ""
    assert records["going"].row.label is None
    assert records["broken"].row.label == "OVER"


def test_a_half_written_last_line_is_not_there_yet(tmp_path: Path) -> None:
    run = online_run(tmp_path / "kl", status=None)
    with (run / "metrics.jsonl").open("a") as lines:
        lines.write('{"step": 21, "score_me')
    record = collect([run]).records[0]
    assert record.metrics["score_mean"][0][-1] == 20


def test_a_missing_evaluation_or_metric_is_absent_and_not_zero(tmp_path: Path) -> None:
    online_run(tmp_path / "kl", [Evaluated(0, 4, gold=None), Evaluated(20, 8, 1.0, gold=None)])
    record = collect([tmp_path]).records[0]
    steps, values = record.evaluated("win_rate")
    assert (steps.tolist(), values.tolist()) == ([0, 20], [0.4, 0.8])
    assert record.evaluated("gold_mean")[0].size == 0
    assert record.row.gold_end is None
    assert "gold_mean" not in record.metrics


def test_a_metric_that_was_not_finite_is_absent_at_that_step(tmp_path: Path) -> None:
    run = online_run(tmp_path / "kl", [])
    with (run / "metrics.jsonl").open("a") as lines:
        lines.write('{"step": 21, "score_mean": 7.0, "nonfinite": ["kl_ref"]}\n')
    metrics = collect([run]).records[0].metrics
    assert (metrics["kl_ref"][0][-1], metrics["score_mean"][0][-1]) == (20, 21)


def test_what_cannot_be_read_is_named_and_left_out(tmp_path: Path) -> None:
    online_run(tmp_path / "good")
    (online_run(tmp_path / "parquet") / "samples/step-10.parquet").write_bytes(b"PAR1 and no more")
    (online_run(tmp_path / "json") / "metrics.jsonl").write_text("{]\n")
    (online_run(tmp_path / "config") / "config.yaml").unlink()
    (online_run(tmp_path / "evaluation") / "evaluations.jsonl").write_text('{"win_rate": 0.5}\n')
    for name, value in (("text", '"high"'), ("nan", "NaN")):
        evaluations = online_run(tmp_path / name) / "evaluations.jsonl"
        evaluations.write_text(evaluations.read_text().replace('"kl_ref": 1.0', f'"kl_ref": {value}'))
    info = online_run(tmp_path / "newer") / "run.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"schema_version": 99}))
    collection = collect([tmp_path, tmp_path / "nowhere"])
    assert names(collection) == {"online": ["good"]}
    reasons = sorted(reason.replace(str(tmp_path), "") for reason in collection.left_out)
    assert [reason.partition(" ")[0] for reason in reasons] == [
        "/config/config.yaml:", "/evaluation/evaluations.jsonl:1:", "/json/metrics.jsonl:1:",
        "/nan/evaluations.jsonl:2:", "/newer/run.json:", "/nowhere:", "/parquet/samples/step-10.parquet:",
        "/text/evaluations.jsonl:2:",
    ]  # fmt: skip
    assert "step not as overopt writes them (step is None)" in reasons[1]
    assert "kl_ref not as overopt writes them (kl_ref is nan); restore the file or remove the line" in reasons[3]
    assert "schema_version 99, but this overopt reads up to 1: upgrade" in reasons[4]
    assert "cannot be read as Parquet" in reasons[6]
    assert "kl_ref not as overopt writes them (kl_ref is high)" in reasons[7]


def test_records_of_an_earlier_schema_are_read(tmp_path: Path) -> None:
    info = online_run(tmp_path / "kl") / "run.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"schema_version": 0}))
    assert names(collect([tmp_path])) == {"online": ["kl"]}


def test_online_runs_come_first_wherever_they_lie(tmp_path: Path) -> None:
    offline_run(tmp_path / "a")
    online_run(tmp_path / "b")
    assert list(names(collect([tmp_path]))) == ["online", "offline"]


def test_a_folder_that_may_not_be_read_does_not_hide_its_neighbors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    online_run(tmp_path / "good")
    (tmp_path / "locked").mkdir()
    iterdir = Path.iterdir

    def locked(path: Path) -> object:
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", locked)
    collection = collect([tmp_path])
    assert names(collection) == {"online": ["good"]}
    assert collection.left_out == (f"{tmp_path / 'locked'}: cannot be read (Permission denied)",)


def test_no_run_says_where_it_looked_and_what_was_wrong(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"no run to report on; looked in {tmp_path / 'empty'} and below"):
        collect([tmp_path / "empty"])
    run = online_run(tmp_path / "kl")
    (run / "run.json").write_text("{")
    with pytest.raises(UserError, match=r"no run to report on[^\n]*\n[^\n]*run.json: not JSON"):
        collect([tmp_path])


def test_runs_that_differ_in_their_seeds_only_share_a_setting(tmp_path: Path) -> None:
    for seed in (0, 1):
        online_run(tmp_path / f"kl-{seed}", changes={"seed": seed, "policy": f"../sft-{seed}"})
        online_run(tmp_path / f"long-{seed}", changes={"seed": seed, "epochs": 4})
    group = collect([tmp_path]).groups[0]
    assert group.has_seeds
    assert group.entries == ["kl 0.2, lr 0.0005 (1)", "kl 0.2, lr 0.0005 (2)"]
    assert [record.seed for record in group.records] == [0, 1, 0, 1]
    assert group.last_step == 20


def test_copies_of_one_run_are_no_seeds(tmp_path: Path) -> None:
    for name in ("a", "b"):
        online_run(tmp_path / name)
    group = collect([tmp_path]).groups[0]
    assert not group.has_seeds
    assert group.entries == ["a", "b"]


def test_the_gate_of_a_study_is_read_from_its_summary(tmp_path: Path) -> None:
    online_run(tmp_path / "runs/kl")
    summary = [{"run": "kl", "gate": "sft.win_rate"}, {"run": "none", "gate": None}]
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    row = collect([tmp_path]).records[0].row
    assert (row.label, row.gate, row.win_rate) == (None, "sft.win_rate", 1.0)
    (tmp_path / "summary.json").write_text("[")
    assert collect([tmp_path]).records[0].row.label == "GOOD"


LOST: list[float | None] = [0.0] * 10
HALF: list[float | None] = [1.0, 0.0] * 5


def judged_twice(path: Path) -> None:
    """Two runs that gold finds GOOD and OVER, and a model FLAT and COLLAPSE or OVER; the second run up to step 10."""
    judge_again(online_run(path / "kl", BETTER), {0: HALF, 10: HALF, 20: HALF})
    judge_again(online_run(path / "none", WORSE), {0: HALF, 10: LOST})


def test_every_judge_that_has_rows_is_there_and_the_runs_own_is_first(tmp_path: Path) -> None:
    judged_twice(tmp_path)
    online_run(tmp_path / "unjudged")
    (group,) = collect([tmp_path]).groups
    assert group.judges == ["gold", MODEL]
    kl, none, unjudged = group.records
    assert [[record.row.judge, record.row.label] for record in group.records] == [["gold", label] for label in
                                                                                  ("GOOD", "OVER", "GOOD")]  # fmt: skip
    assert [[(other.judge, other.label) for other in record.row.others] for record in group.records] == [
        [(MODEL, "FLAT")], [(MODEL, "OVER")], [],
    ]  # fmt: skip
    assert [points.tolist() for points in kl.evaluated("win_rate")] == [[0, 10, 20], [0.4, 0.8, 1.0]]
    assert [points.tolist() for points in none.evaluated("win_rate", MODEL)] == [[0, 10], [0.5, 0.0]]
    assert unjudged.evaluated("win_rate", MODEL)[0].size == 0


def test_the_judges_that_are_asked_for_come_in_that_order(tmp_path: Path) -> None:
    judged_twice(tmp_path)
    (group,) = collect([tmp_path], [MODEL, "gold"]).groups
    assert group.judges == [MODEL, "gold"]
    kl, none = group.records
    assert [(record.row.label, record.row.win_rate) for record in (kl, none)] == [("FLAT", 0.5), ("OVER", 0.0)]
    assert [judged.outcome for judged in none.last.values()] == LOST
    assert none.evaluated("proxy_mean")[1].tolist() == [0.0, 2.0, 3.0], "what no judge changes is there"
    (alone,) = collect([tmp_path], [MODEL]).groups
    assert alone.judges == [MODEL]
    assert alone.records[0].row.others == ()


def test_a_judge_that_judged_nothing_is_refused_with_those_there_are(tmp_path: Path) -> None:
    judged_twice(tmp_path)
    with pytest.raises(
        UserError, match=f"--judge gpt: these runs were judged by gold, {MODEL}; see `overopt evaluate`"
    ):
        collect([tmp_path], ["gold", "gpt"])


def test_runs_whose_own_judges_differ_are_groups_apart(tmp_path: Path) -> None:
    online_run(tmp_path / "kl")
    other = online_run(tmp_path / "local")
    lines = (other / "evaluations.jsonl").read_text()
    (other / "evaluations.jsonl").write_text(lines.replace('"judge": "gold"', '"judge": "reward_model"'))
    groups = collect([tmp_path]).groups
    assert [(group.title, group.judges, len(group.records)) for group in groups] == [
        ("Online runs, miniature task, tuning split, judged by gold", ["gold"], 1),
        ("Online runs, miniature task, tuning split, judged by reward_model", ["reward_model"], 1),
    ]


def test_two_versions_of_a_judge_are_two_judges(tmp_path: Path) -> None:
    for name, version in (("a", "1111111111"), ("b", "2222222222")):
        judge_again(online_run(tmp_path / name), {0: HALF, 10: HALF, 20: HALF}, judge_hash=version)
    (group,) = collect([tmp_path]).groups
    assert group.judges == ["gold", f"{MODEL} (111111)", f"{MODEL} (222222)"]
    a, b = group.records
    assert a.evaluated("win_rate", f"{MODEL} (111111)")[0].tolist() == [0, 10, 20]
    assert b.evaluated("win_rate", f"{MODEL} (111111)")[0].tolist() == []
    first, second = collect([tmp_path], [MODEL]).groups
    assert (len(first.records), len(second.records)) == (1, 1), "their labels would stand in one column"

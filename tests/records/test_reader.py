import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from overopt.errors import UserError
from overopt.records import Run, RunWriter, file_stamps, find_readable_runs, find_runs, hash_parent, load_run


@pytest.fixture
def writer(tmp_path: Path) -> RunWriter:
    return RunWriter.create(tmp_path / "kl", "stage: online\nlr: 0.001\n", {"stage": "online"})


@pytest.fixture
def run(writer: RunWriter) -> Run:
    return load_run(writer.path)


def test_what_a_run_says_of_itself(run: Run) -> None:
    assert (run.name, run.stage, run.status) == ("kl", "online", "running")
    assert run.config == {"stage": "online", "lr": 0.001}


def test_a_new_run_is_empty_not_zero(run: Run) -> None:
    assert run.metrics() == {"step": []}
    assert run.series("kl_ref") == ([], [])
    assert run.evaluations() == run.checkpoints() == run.sample_steps() == []


def test_columns_are_aligned_to_steps_and_series_skip_what_is_absent(writer: RunWriter, run: Run) -> None:
    writer.log(1, {"lr": 0.5})
    writer.log(2, {"lr": 0.25, "kl_prev": 1.5})
    writer.log(3, {"kl_prev": float("nan")})
    assert run.metrics() == {"step": [1, 2, 3], "lr": [0.5, 0.25, None], "kl_prev": [None, 1.5, None]}
    assert run.series("kl_prev") == ([2], [1.5])
    assert list(run.iter_metrics())[2] == {"step": 3, "nonfinite": ["kl_prev"]}
    writer.log_timings(3, {"step_s": 0.5})
    assert run.timings() == {"step": [3], "step_s": [0.5]}


@pytest.mark.parametrize("end", ['{"step": 2, "lr": 0.', '{"step": 2, "lr": 0.25}', "{"])
def test_a_cut_last_line_is_skipped(run: Run, end: str) -> None:
    (run.path / "metrics.jsonl").write_text('{"step": 1, "lr": 0.5}\n' + end)
    assert list(run.iter_metrics()) == [{"step": 1, "lr": 0.5}]


@pytest.mark.parametrize(("line", "problem"), [("{lr}", "not JSON"), ("[1]", r"expected a JSON object, got \[1\]")])
def test_a_bad_line_within_is_named(run: Run, line: str, problem: str) -> None:
    (run.path / "metrics.jsonl").write_text('{"step": 1}\n' + line + '\n{"step": 3}\n')
    rows = run.iter_metrics()
    assert next(rows) == {"step": 1}  # streamed: what precedes the fault is had
    with pytest.raises(UserError, match=rf"metrics\.jsonl:2: {problem}"):
        next(rows)


def test_the_runs_own_evaluations_and_a_judges(writer: RunWriter, run: Run) -> None:
    key = {"split": "tuning", "judge": "gold", "prompt_set": "a"}
    writer.log_evaluation({"step": 10, **key, "win_rate": 0.5})
    writer.log_evaluation({"step": 0, **key, "win_rate": 0.25})
    writer.log_reevaluation("gold", {"step": 10, **key, "win_rate": 0.75})
    writer.log_reevaluation("gold", {"step": 10, **key, "split": "test", "win_rate": 1.0})
    writer.log_reevaluation("lab/model", {"step": 0, "win_rate": 0.125})
    assert [(row["step"], row["win_rate"]) for row in run.evaluations()] == [(0, 0.25), (10, 0.5)]
    assert [(row["step"], row["win_rate"]) for row in run.evaluations("gold")] == [(0, 0.25), (10, 0.75), (10, 1.0)]
    assert run.evaluations("lab/model") == [{"step": 0, "win_rate": 0.125, "judge": "lab/model"}]
    assert run.evaluations("nobody") == []


def test_samples_come_back_as_rows_or_columns(writer: RunWriter, run: Run) -> None:
    writer.write_samples(10, [{"prompt_id": "a", "outcome": 0.5}, {"prompt_id": "b", "outcome": None}])
    writer.write_samples(2, [{"prompt_id": "a"}])
    assert run.sample_steps() == [2, 10]
    assert run.sample_columns(10, ["outcome", "prompt_id"]) == {"outcome": [0.5, None], "prompt_id": ["a", "b"]}
    assert [row["step"] for row in run.samples(10)] == [10, 10]
    with pytest.raises(UserError, match=r"step-3\.parquet: missing; steps with samples: 2, 10"):
        run.samples(3)


def test_another_side_and_another_limit_are_other_evaluations(writer: RunWriter, run: Run) -> None:
    """The run's own limit and its references are the same comparison, whether they are written down or not."""
    (run.path / "config.yaml").write_text("max_completion_tokens: 53\n")
    row = {"step": 10, "split": "tuning", "judge": "gold", "prompt_set": "a"}
    writer.log_evaluation(row | {"win_rate": 0.5})
    limits = [{"max_completion_tokens": 53}, {"max_completion_tokens": 128}]
    for number, more in enumerate([{"against": "reference", **limits[0]}, limits[1], {"against": "sft"}]):
        writer.log_reevaluation("gold", row | more | {"win_rate": number / 4})
    found = run.evaluations("gold")
    assert [one["win_rate"] for one in found] == [0.0, 0.25, 0.5]
    assert [run.is_ordinary(one) for one in found] == [True, False, False]
    assert [run.is_ordinary(one) for one in ({}, {"against": None, "max_completion_tokens": None})] == [True, True]


def test_a_judge_that_was_changed_under_its_name_is_not_mixed(writer: RunWriter, run: Run) -> None:
    for step, hash, rate in ((0, "old", 0.25), (10, "old", 0.5), (0, "new", 0.75)):
        row = {"step": step, "judge_hash": hash, "win_rate": rate}
        writer.log_reevaluation("lab/model", row)
    assert run.judge_hashes("lab/model") == ["old", "new"]
    assert [(row["step"], row["win_rate"]) for row in run.evaluations("lab/model")] == [(0, 0.75)]
    writer.log_reevaluation("lab/model", {"step": 10, "judge_hash": "old", "win_rate": 0.5})
    assert run.judge_hashes("lab/model") == ["new", "old"]  # the last one counts, for what it judged last
    assert [(row["step"], row["win_rate"]) for row in run.evaluations("lab/model")] == [(10, 0.5)]
    assert run.judge_hashes("gold") == []


def test_the_judges_of_a_run_begin_with_its_own(writer: RunWriter, run: Run) -> None:
    assert run.judges() == []
    for judge in ("reward_model", "lab/model", "lab:model"):  # the last two share a file
        writer.log_reevaluation(judge, {"step": 0, "win_rate": 0.5})
    assert run.judges() == ["lab/model", "lab:model", "reward_model"]
    assert len(run.evaluations("lab/model")) == 1
    writer.log_evaluation({"step": 0, "judge": "pairs", "accuracy": 0.5})
    writer.log_evaluation({"step": 0, "judge": "reward_model", "win_rate": 0.5})
    assert run.judges() == ["reward_model", "lab/model", "lab:model"]


def test_samples_of_older_files_lack_the_later_columns(writer: RunWriter, run: Run) -> None:
    from pyarrow import parquet

    writer.write_samples(10, [{"prompt_id": "a", "outcome": 0.5}])
    file = run.path / "samples" / "step-10.parquet"
    parquet.write_table(parquet.read_table(file).drop_columns(["against", "max_completion_tokens"]), file)
    [row] = run.samples(10)
    assert (row["prompt_id"], row["outcome"], row["against"], row["max_completion_tokens"]) == ("a", 0.5, None, None)
    assert run.sample_columns(10, ["against", "outcome"]) == {"against": [None], "outcome": [0.5]}
    writer.write_samples(10, [{"prompt_id": "a", "outcome": 1.0}])
    assert [row["outcome"] for row in run.samples(10)] == [1.0]


def test_the_stamps_change_with_a_later_evaluation(writer: RunWriter, run: Run) -> None:
    before = file_stamps(run.path)
    writer.log_reevaluation("gold", {"step": 0, "win_rate": 0.5})
    between = file_stamps(run.path)
    writer.log_reevaluation("gold", {"step": 10, "win_rate": 0.5})
    assert len({before, between, file_stamps(run.path)}) == 3


def test_pairs_come_back(writer: RunWriter, run: Run) -> None:
    with pytest.raises(UserError, match=r"pairs\.jsonl\.gz: missing"):
        list(run.pairs())
    rows: list[dict[str, object]] = [{"prompt_id": "a", "chosen": {"text": "é", "ended": True}}, {"prompt_id": "b"}]
    writer.write_pairs(rows)
    assert list(run.pairs()) == rows


def test_checkpoints_and_the_hash_of_the_last(writer: RunWriter, run: Run) -> None:
    with pytest.raises(UserError, match="has no checkpoint"):
        run.checkpoint()
    for step, weights in [(20, b"1"), (100, b"2")]:
        with writer.checkpoint(step) as folder:
            (folder / "model.safetensors").write_bytes(weights)
    assert run.checkpoints() == [20, 100]
    assert run.checkpoint() == run.path / "checkpoints" / "step-100"
    assert run.checkpoint(20).name == "step-20"
    with pytest.raises(UserError, match="has no checkpoint of step 30, only of 20, 100"):
        run.checkpoint(30)

    weights_hash = hashlib.sha256(b"model.safetensors" + hashlib.sha256(b"2").digest()).hexdigest()
    assert run.hash() == hashlib.sha256(b"stage: online\nlr: 0.001\n" + weights_hash.encode()).hexdigest()
    assert hash_parent(run.path) == run.hash()
    assert hash_parent(run.checkpoint()) == weights_hash


def test_what_is_no_run_is_named(tmp_path: Path, run: Run) -> None:
    with pytest.raises(UserError, match="nowhere: does not exist"):
        load_run(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"config\.yaml: not a directory"):
        load_run(run.path / "config.yaml")
    with pytest.raises(UserError, match=r"holds no run\.json"):
        load_run(tmp_path)
    info = run.path / "run.json"
    for content, problem in [
        ("{", "not JSON"),
        ("[]", "has no schema_version"),
        ('{"schema_version": 2}', "schema_version 2, but this overopt reads up to 1"),
    ]:
        info.write_text(content)
        with pytest.raises(UserError, match=problem):
            load_run(run.path)


@pytest.mark.parametrize(("text", "problem"), [("a: [", "not YAML"), ("a", "not a mapping"), (None, "missing")])
def test_a_config_that_is_gone_or_broken_is_named(run: Run, text: str | None, problem: str) -> None:
    config = run.path / "config.yaml"
    config.unlink() if text is None else config.write_text(text)
    with pytest.raises(UserError, match=rf"config\.yaml: {problem}"):
        _ = run.config


def test_what_a_run_writes_changes_its_stamps(tmp_path: Path) -> None:
    assert file_stamps(tmp_path) == ()
    (tmp_path / "run.json").write_text("{}")
    ((name, _, size),) = before = file_stamps(tmp_path)
    assert (name, size) == ("run.json", 2)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    assert [stamp[0] for stamp in file_stamps(tmp_path)] == ["run.json", "metrics.jsonl"]
    assert file_stamps(tmp_path)[:1] == before


def test_folders_that_are_not_there_are_named_among_the_unreadable(tmp_path: Path) -> None:
    unreadable: list[str] = []
    (tmp_path / "a").mkdir()
    (tmp_path / "a/run.json").write_text("{}")
    assert list(find_readable_runs(tmp_path, unreadable)) == [tmp_path / "a"]
    assert list(find_readable_runs(tmp_path / "b", unreadable)) == []
    assert unreadable == [f"{tmp_path / 'b'}: does not exist"]


def test_find_runs_at_or_below_a_folder(tmp_path: Path) -> None:
    for name in ("b", "a/seed-1", "a/seed-0"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run.json").write_text(json.dumps({"schema_version": 1}))
    assert find_runs(tmp_path) == [tmp_path / name for name in ("a/seed-0", "a/seed-1", "b")]
    assert find_runs(tmp_path / "b") == [tmp_path / "b"]
    with pytest.raises(UserError, match="c: does not exist"):
        find_runs(tmp_path / "c")


def test_the_room_imports_no_heavy_library() -> None:
    program = (
        "import sys, overopt.records, overopt.outcomes; "
        "print([m for m in ('torch', 'pandas', 'pyarrow', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("field", "value"),
    [("status", None), ("seed", []), ("data", [1]), ("parents", {}), ("parents", [None]), ("parents", [{"role": "x"}])],
)
def test_a_field_of_another_type_is_named(run: Run, field: str, value: object) -> None:
    (run.path / "run.json").write_text(json.dumps({**run.info, field: value}))
    with pytest.raises(UserError, match=rf"run\.json: {field}.* not as overopt writes them; restore the file"):
        load_run(run.path)


def test_a_setting_has_the_type_that_is_asked_for(run: Run) -> None:
    assert run.setting("lr", float) == 0.001
    with pytest.raises(UserError, match=r"config\.yaml: task is None; the file has been changed: restore it"):
        run.setting("task", dict)


def test_damaged_pairs_are_named(writer: RunWriter, run: Run) -> None:
    writer.write_pairs([{"prompt_id": "a"}])
    file = run.path / "pairs.jsonl.gz"
    file.write_bytes(file.read_bytes()[:-6])
    with pytest.raises(UserError, match=r"pairs\.jsonl\.gz: damaged gzip file"):
        list(run.pairs())


def test_a_line_that_is_nested_too_deep_is_named(run: Run) -> None:
    (run.path / "metrics.jsonl").write_text("[" * 200_000 + "\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl:1: not JSON"):
        list(run.iter_metrics())


def test_of_a_stopped_run_the_step_to_go_back_to_counts(writer: RunWriter, run: Run) -> None:
    """For whoever starts from it without naming a step, and in what they record of it; the last can be named."""
    for step, weights in [(20, b"1"), (100, b"2")]:
        with writer.checkpoint(step) as folder:
            (folder / "model.safetensors").write_bytes(weights)
    last = run.hash()
    writer.finish("stopped", stopped_at=100, go_back_to=20)
    stopped = load_run(run.path)
    assert stopped.checkpoint().name == "step-20"
    assert stopped.checkpoint(100).name == "step-100"
    assert stopped.hash() != last
    writer.update(go_back_to=0)  # what it started from: no checkpoint of its own
    assert load_run(run.path).checkpoint().name == "step-100"


def test_the_hash_of_a_parent_covers_its_pairs_and_the_configuration_of_its_model(writer: RunWriter, run: Run) -> None:
    """A child that learns from the pairs, or that scales what the weights compute, learns otherwise if they change."""
    with writer.checkpoint(20) as folder:
        (folder / "model.safetensors").write_bytes(b"1")
        (folder / "config.json").write_text('{"reward_mean": 0.5}')
    config = run.checkpoint() / "config.json"
    hashes = [hash_parent(run.path)]
    config.write_text('{"reward_mean": 0.25}')
    hashes.append(hash_parent(run.path))
    assert hash_parent(run.checkpoint()) != hash_parent(run.path)
    writer.write_pairs([{"prompt_id": "a", "chosen": "x", "rejected": "y"}])
    hashes.append(hash_parent(run.path))
    writer.write_pairs([{"prompt_id": "a", "chosen": "y", "rejected": "x"}])
    hashes.append(hash_parent(run.path))
    assert len(set(hashes)) == 4
    folder_hash = hash_parent(run.checkpoint())
    config.write_text('{"reward_mean": 0.5}')
    assert hash_parent(run.checkpoint()) != folder_hash


def test_equal_content_in_another_place_has_the_same_hash(writer: RunWriter, run: Run, tmp_path: Path) -> None:
    with writer.checkpoint(20) as folder:
        (folder / "model.safetensors").write_bytes(b"1")
        (folder / "config.json").write_text("{}")
    writer.write_pairs([{"prompt_id": "a"}])
    assert hash_parent(shutil.copytree(run.path, tmp_path / "elsewhere")) == hash_parent(run.path)


def test_evaluations_of_another_prompt_set_or_judge_stand_beside_each_other(writer: RunWriter, run: Run) -> None:
    row = {"step": 10, "split": "tuning", "judge": "gold", "prompt_set": "a", "win_rate": 0.5}
    rows = [row, row | {"prompt_set": "b", "win_rate": 0.25}, row | {"judge": "pairs", "win_rate": 0.125}]
    for one in rows:
        writer.log_evaluation(one)
    assert run.evaluations() == rows
    writer.log_evaluation(row | {"win_rate": 0.75})  # the same evaluation, made again
    assert sorted(found["win_rate"] for found in run.evaluations()) == [0.125, 0.25, 0.75]


def test_a_run_is_complete_at_its_last_step_or_stopped_in_time(writer: RunWriter, run: Run) -> None:
    found = {}
    for status in ("running", "interrupted", "finished", "stopped", "diverged", "failed"):
        writer.update(status=status)
        found[status] = load_run(run.path).complete
    assert [status for status, complete in found.items() if complete] == ["finished", "stopped"]


def test_a_run_has_the_name_that_it_was_given_else_its_folder_s(writer: RunWriter, run: Run) -> None:
    assert run.name == "kl"
    writer.update(name="no penalty")
    assert load_run(run.path).name == "no penalty"


def test_links_are_not_followed_to_runs(tmp_path: Path) -> None:
    """A link back to a folder above would never end, and a run that is linked to would be there twice."""
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "run.json").write_text(json.dumps({"schema_version": 1}))
    (tmp_path / "runs" / "again").symlink_to(tmp_path / "runs" / "a")
    assert find_runs(tmp_path) == [tmp_path / "runs" / "a"]


def test_the_clock_of_a_run_is_that_of_its_place(run: Run) -> None:
    def clock(**info: str) -> object:
        return dataclasses.replace(run, info=info).clock

    assert clock(clock="2026-02-09T13:05:00", started="2026-02-10T01:05:00+00:00") == datetime(2026, 2, 9, 13, 5)
    started = datetime(2026, 2, 10, 1, 5, tzinfo=UTC)
    assert clock(started=started.isoformat()) == started.astimezone().replace(tzinfo=None)  # as recorded earlier
    assert clock() is None
    with pytest.raises(UserError, match=r"run.json: 'yesterday' is no time \(.*\); restore the file"):
        clock(clock="yesterday")


@pytest.mark.parametrize("name", ["config.yaml", "pairs.jsonl.gz", "checkpoints/step-1/model.safetensors"])
def test_what_a_parent_lacks_is_named(writer: RunWriter, run: Run, name: str) -> None:
    writer.write_pairs([{"prompt_id": "a"}])
    with writer.checkpoint(1) as folder:
        (folder / "model.safetensors").write_bytes(b"1")
    (run.path / name).unlink()
    (run.path / name).mkdir()
    with pytest.raises(UserError, match=rf"{name}: cannot be read: Is a directory"):
        run.hash()


@pytest.mark.parametrize("name", ["run.json", "config.yaml"])
def test_half_a_surrogate_pair_is_named(run: Run, name: str) -> None:
    (run.path / name).write_text('{"schema_version": 1, "name": "\\ud800"}')
    with pytest.raises(UserError, match=rf"{name}: not .*surrogates not allowed"):
        _ = load_run(run.path).config

import errno
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from overopt.errors import UserError
from overopt.records import RunWriter, clear_run, load_run
from overopt.records.states import newest_state

CONFIG = "stage: online\nlr: 0.001\n"


@pytest.fixture
def writer(tmp_path: Path) -> RunWriter:
    return RunWriter.create(tmp_path / "runs" / "kl", CONFIG, {"stage": "online", "seed": 3})


@pytest.fixture
def fill_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on the disk takes ten more bytes, then nothing."""

    def fill() -> None:
        left = [10]
        write = os.write

        def failing(file: int, data: bytes) -> int:
            if not left[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            count = write(file, bytes(data)[: left[0]])
            left[0] -= count
            return count

        monkeypatch.setattr(os, "write", failing)

    return fill


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


# --- Beginning and end


def test_create_writes_what_every_run_says(writer: RunWriter) -> None:
    assert (writer.path / "config.yaml").read_text() == CONFIG
    info = json.loads((writer.path / "run.json").read_text())
    assert (info["schema_version"], info["name"], info["status"]) == (1, "kl", "running")
    assert (info["stage"], info["seed"], info["resumes"]) == ("online", 3, [])
    assert info["versions"]["python"] and info["started"].endswith("+00:00")


def test_update_and_finish_rewrite_run_json_and_leave_no_other_file(writer: RunWriter) -> None:
    writer.update(threads=2, seed=np.int64(4), policy=Path("a/b"))
    writer.finish("diverged", diverged_at=7)
    info = load_run(writer.path).info
    assert (info["threads"], info["seed"], info["policy"]) == (2, 4, "a/b")
    assert (info["status"], info["diverged_at"]) == ("diverged", 7)
    assert info["finished"] >= info["started"]
    assert sorted(file.name for file in writer.path.iterdir()) == ["config.yaml", "run.json"]


def test_create_refuses_a_file_and_a_run_and_changes_neither(writer: RunWriter, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    with pytest.raises(UserError, match=r"notes\.txt: is a file, but a run needs a directory"):
        RunWriter.create(file, CONFIG, {})
    with pytest.raises(UserError, match=r"notes\.txt.*cannot be written"):
        RunWriter.create(file / "below", CONFIG, {})
    with pytest.raises(UserError, match=r"kl: already holds run\.json; nothing was overwritten"):
        RunWriter.create(writer.path, CONFIG, {"seed": 9})
    assert file.read_text() == "mine"
    assert load_run(writer.path).info["seed"] == 3


def test_create_never_overwrites_a_config_that_is_not_this_runs_own(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("mine: 1\n")
    with pytest.raises(UserError, match=r"already holds config\.yaml"):
        RunWriter.create(tmp_path, CONFIG, {})
    assert (tmp_path / "config.yaml").read_text() == "mine: 1\n"


def test_create_takes_up_a_run_that_was_killed_before_it_had_a_run_json(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    RunWriter.create(tmp_path, CONFIG, {"seed": 1})
    assert load_run(tmp_path).info["seed"] == 1


def test_create_on_a_full_disk_leaves_nothing_behind(tmp_path: Path, fill_disk: Callable[[], None]) -> None:
    fill_disk()
    with pytest.raises(UserError, match=r"config\.yaml: cannot be written \(No space left on device; [\d,]+ MB free\)"):
        RunWriter.create(tmp_path / "runs" / "kl", CONFIG, {})
    assert list(tmp_path.iterdir()) == []


def test_clear_removes_the_run_and_nothing_else(writer: RunWriter) -> None:
    writer.log(1, {"lr": 1.0})
    writer.write_samples(0, [{"prompt_id": "a"}])
    writer.log_reevaluation("gold", {"step": 0})
    with writer.checkpoint(1) as folder:
        (folder / "model.safetensors").write_bytes(b"1")
    (writer.path / "notes.md").write_text("mine")
    clear_run(writer.path)
    assert [file.name for file in writer.path.iterdir()] == ["notes.md"]
    RunWriter.create(writer.path, CONFIG, {})


def test_resume_removes_what_came_after_the_state_and_nothing_else(writer: RunWriter) -> None:
    hashes: dict[int, dict[str, str]] = {}
    for step in (1, 2, 3):
        writer.log(step, {"lr": 1.0})
        writer.log_timings(step, {"elapsed": 1.0})
        writer.log_evaluation({"step": step})
        writer.write_samples(step, [{"prompt_id": "a"}])
        with writer.checkpoint(step) as folder:
            (folder / "model.safetensors").write_bytes(bytes([step]))
        if step == 2:
            hashes = {1: writer.checkpoint_hashes(1), 2: writer.checkpoint_hashes(2)}
            writer.commit_state(2, hashes, {}, lambda file: file.write_bytes(b"") and None)
    writer.log_reevaluation("gold", {"step": 3})
    writer.finish("failed")
    for name in (".run.json.partial", "samples/.step-3.parquet.partial"):
        (writer.path / name).write_text("half")
    state = newest_state(writer.path, pytest.fail)
    assert state is not None
    with RunWriter.resume(writer.path, state, CONFIG + "seed: 1\n") as again:
        again.log(3, {"lr": 2.0})
    run = load_run(writer.path)
    assert run.series("lr") == ([1, 2, 3], [1.0, 1.0, 2.0])
    assert [row["step"] for row in run.evaluations()] == [1, 2] and run.timings()["step"] == [1, 2]
    assert (run.sample_steps(), run.checkpoints()) == ([1, 2], [1, 2])
    assert [resume["step"] for resume in run.info["resumes"]] == [2]
    assert run.status == "running" and "finished" not in run.info
    assert (run.path / "config.yaml").read_text() == CONFIG + "seed: 1\n"
    assert not list(run.path.rglob("*.partial"))
    assert (run.path / "evaluations" / "gold.jsonl").exists()


# --- Lines


def test_a_line_is_one_write_at_full_precision(writer: RunWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    write = os.write

    def spy(file: int, data: bytes) -> int:
        written.append(bytes(data))
        return write(file, data)

    monkeypatch.setattr(os, "write", spy)
    with writer:
        writer.log(1, {"kl_ref": 0.1 + 0.2, "score_mean": np.float32(0.5)})
        writer.log_timings(1, {"sample_s": 0.25})
    assert written == [
        b'{"step": 1, "kl_ref": 0.30000000000000004, "score_mean": 0.5}\n',
        b'{"step": 1, "sample_s": 0.25}\n',
    ]


def test_missing_values_are_absent_and_nonfinite_ones_named(writer: RunWriter) -> None:
    writer.log(1, {"loss": float("nan"), "grad_norm": np.float32("inf"), "gold_mean": None, "lr": 0.1})
    assert lines(writer.path / "metrics.jsonl") == [{"step": 1, "lr": 0.1, "nonfinite": ["loss", "grad_norm"]}]


def test_a_full_disk_cuts_no_line_and_the_record_stays_readable(
    writer: RunWriter, fill_disk: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.log(1, {"lr": 1.0})
    fill_disk()
    with pytest.raises(UserError, match=r"metrics\.jsonl: cannot be written \(No space left on device"):
        writer.log(2, {"lr": 2.0})
    with pytest.raises(UserError, match=r"run\.json: cannot be written"):
        writer.update(status="failed")
    assert (writer.path / "metrics.jsonl").read_bytes() == b'{"step": 1, "lr": 1.0}\n'
    assert load_run(writer.path).status == "running"

    monkeypatch.undo()  # some space was freed
    writer.log(2, {"lr": 2.0})
    assert load_run(writer.path).series("lr") == ([1, 2], [1.0, 2.0])


def test_a_line_that_was_cut_is_dropped_before_the_next_is_added(writer: RunWriter) -> None:
    writer.log_reevaluation("gold", {"step": 0, "win_rate": 0.5})
    writer.close()
    with (writer.path / "evaluations" / "gold.jsonl").open("a") as file:
        file.write('{"step": 10, "win_r')
    with RunWriter.open(writer.path) as again:
        again.log_reevaluation("gold", {"step": 10, "win_rate": 0.75})
    assert lines(writer.path / "evaluations" / "gold.jsonl") == [
        {"step": 0, "win_rate": 0.5, "judge": "gold"},
        {"step": 10, "win_rate": 0.75, "judge": "gold"},
    ]


# --- Samples, pairs, checkpoints


def test_samples_have_all_columns_and_null_for_what_is_missing(writer: RunWriter) -> None:
    writer.write_samples(10, [{"prompt_id": "a", "ended": True, "proxy": float("nan"), "length": np.int64(7)}])
    [row] = load_run(writer.path).samples(10)
    assert {name: value for name, value in row.items() if value is not None} == {
        "step": 10,
        "prompt_id": "a",
        "ended": True,
        "length": 7,
    }
    assert len(row) == 16
    with pytest.raises(ValueError, match="no column promt"):
        writer.write_samples(10, [{"promt": "a"}])


def test_replies_stand_once_for_each_comparison(writer: RunWriter) -> None:
    run = load_run(writer.path)
    reply = {"split": "tuning", "judge": "lab/model:j1", "prompt_id": "a", "judge_hash": "1", "verdict": "ours"}
    both = [reply | {"ours_position": place, "attempts": 1} for place in ("A", "B")]
    writer.write_judgements(10, both)
    writer.write_judgements(10, [one | {"against": "sft"} for one in both])
    writer.write_judgements(10, [reply | {"ours_position": "A", "verdict": "tie", "judge_hash": "2"}])
    assert [(row["against"], row["ours_position"], row["verdict"]) for row in run.judgements(10)] == [
        ("sft", "A", "ours"),
        ("sft", "B", "ours"),
        (None, "A", "tie"),
    ]
    assert run.judgements(10)[0]["step"] == 10
    writer.write_judgements(20, [])
    assert run.judgements(20) == [] and not (run.path / "judgements" / "step-20.parquet").exists()
    with pytest.raises(ValueError, match="no column verdikt"):
        writer.write_judgements(10, [{"verdikt": "ours"}])


def test_samples_of_another_side_or_limit_stand_beside_the_run_s_own(writer: RunWriter) -> None:
    run = load_run(writer.path)
    row = {"prompt_id": "a", "split": "tuning", "judge": "gold", "outcome": 1.0}
    writer.write_samples(10, [row])
    writer.write_samples(10, [row | {"against": "sft", "outcome": 0.0}])
    writer.write_samples(10, [row | {"max_completion_tokens": 128, "outcome": 0.5}])
    writer.write_samples(10, [row | {"outcome": 0.0}])
    found = {(one["against"], one["max_completion_tokens"]): one["outcome"] for one in run.samples(10)}
    assert found == {("sft", None): 0.0, (None, 128): 0.5, (None, None): 0.0} and len(run.samples(10)) == 3


def test_samples_of_the_same_split_judge_and_prompt_are_replaced(writer: RunWriter) -> None:
    writer.write_samples(0, [{"split": "tuning", "prompt_id": p, "gold": 1.0} for p in "ab"])
    writer.write_samples(0, [{"split": "test", "prompt_id": "a", "gold": 2.0}])
    writer.write_samples(0, [{"split": "tuning", "prompt_id": "b", "gold": 3.0}])
    columns = load_run(writer.path).sample_columns(0, ["split", "prompt_id", "gold"])
    assert list(zip(*columns.values(), strict=True)) == [
        ("tuning", "a", 1.0),
        ("test", "a", 2.0),
        ("tuning", "b", 3.0),
    ]


def test_samples_on_a_full_disk_leave_the_old_ones(writer: RunWriter, fill_disk: Callable[[], None]) -> None:
    writer.write_samples(0, [{"prompt_id": "a"}])
    fill_disk()
    with pytest.raises(UserError, match=r"step-0\.parquet: cannot be written"):
        writer.write_samples(0, [{"prompt_id": "b"}])
    assert load_run(writer.path).sample_columns(0, ["prompt_id"]) == {"prompt_id": ["a"]}
    assert [file.name for file in (writer.path / "samples").iterdir()] == ["step-0.parquet"]


def test_the_same_pairs_give_the_same_bytes(writer: RunWriter) -> None:
    file = writer.path / "pairs.jsonl.gz"
    writer.write_pairs({"prompt_id": p, "chosen": {"text": "x", "ended": True}} for p in "ab")
    first = file.read_bytes()
    assert gzip.decompress(first).count(b"\n") == 2
    writer.write_pairs({"prompt_id": p, "chosen": {"text": "x", "ended": True}} for p in "ab")
    assert file.read_bytes() == first


def test_a_checkpoint_appears_whole_or_not_at_all(writer: RunWriter) -> None:
    with writer.checkpoint(10) as folder:
        (folder / "model.safetensors").write_bytes(b"old")
        assert load_run(writer.path).checkpoints() == []
    assert load_run(writer.path).checkpoints() == [10]

    def save_on_a_full_disk() -> None:
        with writer.checkpoint(10) as folder:
            (folder / "model.safetensors").write_bytes(b"ne")
            raise RuntimeError("I/O error: No space left on device (os error 28)")

    with pytest.raises(UserError, match="step-10: cannot be written"):
        save_on_a_full_disk()
    with pytest.raises(UserError, match=r"step-20: cannot be written \(RuntimeError: other"), writer.checkpoint(20):
        raise RuntimeError("other")
    assert [entry.name for entry in (writer.path / "checkpoints").iterdir()] == ["step-10"]
    assert (writer.path / "checkpoints" / "step-10" / "model.safetensors").read_bytes() == b"old"

    with writer.checkpoint(10) as folder:
        (folder / "model.safetensors").write_bytes(b"new")
    assert (writer.path / "checkpoints" / "step-10" / "model.safetensors").read_bytes() == b"new"


def test_damaged_samples_are_named_where_more_are_added(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path / "run", "stage: online\n", {}) as writer:
        writer.write_samples(1, [{"prompt_id": "a", "judge": "gold"}])
        file = tmp_path / "run" / "samples" / "step-1.parquet"
        file.write_bytes(file.read_bytes()[:50])
        with pytest.raises(UserError, match=rf"{file}: cannot be read as Parquet \(.*\); restore it, or remove it"):
            writer.write_samples(1, [{"prompt_id": "a", "judge": "reward_model"}])
        assert len(file.read_bytes()) == 50

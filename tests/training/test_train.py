from __future__ import annotations

import errno
import json
import math
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import foreign
import pytest
import tiny
import torch
import yaml
from tiny import Chain

import overopt
from faults import left_behind
from overopt import config as configuration
from overopt.engine.optimizer import Optimizer
from overopt.errors import UserError
from overopt.evaluation.evaluator import Evaluator
from overopt.evaluation.reevaluation import evaluate_run
from overopt.models.text import Codec
from overopt.records import RunLock, load_run
from overopt.tasks import Miniature
from overopt.training.pairs import PairSampler
from overopt.training.run import session as session_module
from overopt.training.run.progress import Progress
from overopt.training.stages import STAGES, sft
from overopt.training.train import train


def test_the_stages_by_name() -> None:
    assert list(STAGES) == ["sft", "reward_model", "online", "offline"]


def test_from_a_file_with_overrides_and_from_python(tmp_path: Path) -> None:
    file = tmp_path / "sft.yaml"
    file.write_text(yaml.safe_dump(tiny.sft(steps=50)))
    run = train(file, tmp_path / "a", overrides=[("steps", "2"), ("lr", "2e-2")])
    stage = configuration.load(STAGES, tiny.sft(steps=2, lr=2e-2))
    again = overopt.train(stage, tmp_path / "b")
    assert tiny.metrics(run) == tiny.metrics(again)
    assert overopt.load_run(tmp_path / "a").config["steps"] == 2


def test_locations_are_relative_to_the_file(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = chain.policy.parent / "online.yaml"
    file.write_text(yaml.safe_dump(tiny.online(chain, policy="sft", reward_model="reward-model", total_episodes=8)))
    monkeypatch.chdir(tmp_path)
    run = train(file, "run")
    assert run.path == tmp_path / "run"
    assert run.info["parents"][0]["path"] == str(chain.policy)


def test_the_saved_configuration_repeats_the_run(chain: Chain, tmp_path: Path) -> None:
    run = train(tiny.online(chain, lr=1e-6, total_episodes=8), tmp_path / "run")
    again = train(run.path / "config.yaml", tmp_path / "elsewhere" / "again")
    assert tiny.metrics(again) == tiny.metrics(run)


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    notices: list[str] = []
    run = train(tiny.sft(), tmp_path / "run", notice=notices.append)
    assert notices == []
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    again = train(tiny.sft(), tmp_path / "run", notice=notices.append)
    assert notices == [f"{run.path}: finished already, left alone"]
    assert again.status == "finished"
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


@pytest.mark.parametrize("status", ["running", "failed"])
def test_an_unfinished_run_that_kept_nothing_is_started_again(tmp_path: Path, status: str) -> None:
    notices: list[str] = []
    first = tiny.metrics(train(tiny.sft(), tmp_path / "run"))
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(info | {"status": status}))
    (tmp_path / "run" / "notes.txt").write_text("the user's own")
    run = train(tiny.sft(), tmp_path / "run", notice=notices.append)
    assert notices == [f"{run.path}: had kept nothing to go on from, started again"]
    assert (run.status, tiny.metrics(run)) == ("finished", first)
    assert (run.path / "notes.txt").exists()


def test_a_directory_of_another_configuration_is_refused(tmp_path: Path) -> None:
    run = train(tiny.sft(), tmp_path / "run")
    before = tiny.metrics(run)
    with pytest.raises(
        UserError, match="run: holds a run of another configuration .lr: 0.01 there, 0.02 here.; choose"
    ):
        train(tiny.sft(lr=2e-2), tmp_path / "run")
    assert tiny.metrics(load_run(tmp_path / "run")) == before


def test_an_output_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(UserError, match="file: is a file, but a run needs a directory; choose another"):
        train(tiny.sft(), tmp_path / "file")
    with pytest.raises(UserError, match="cannot be written"):
        train(tiny.sft(), tmp_path / "file" / "run")
    assert (tmp_path / "file").read_text() == "precious"


def test_a_parent_that_is_unfinished(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: Any) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(sft, "descend", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(tiny.sft(), tmp_path / "parent")
    assert load_run(tmp_path / "parent").status == "running"
    with pytest.raises(UserError, match="policy: .*parent is running, not finished; finish or repeat that run first"):
        train(tiny.online(chain, policy=str(tmp_path / "parent")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_empty_data_set(chain: Chain, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    task = {"name": "local", "path": str(tmp_path / "empty.jsonl")}
    for config in (
        tiny.sft(task=task, model={"name": "pretrained", "path": str(chain.policy)}),
        tiny.online(chain, task=task),
        tiny.offline(chain, task=task, pairs="task"),
    ):
        with pytest.raises(UserError, match="empty.jsonl"):
            train(config, tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_nan_loss_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    descend, steps = sft.descend, []

    def broken(*args: Any) -> float:
        steps.append(descend(*args))
        return math.nan if len(steps) == 3 else steps[-1]

    monkeypatch.setattr(sft, "descend", broken)
    with pytest.raises(UserError, match="run: diverged, loss is nan at step 3; the checkpoint of step 2 is kept"):
        train(tiny.sft(steps=5, checkpoint_every=2), tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert (run.status, run.info["diverged_at"]) == ("diverged", 3)
    assert run.checkpoints() == [2]
    assert [row.get("loss") for row in tiny.rows(run)] == [*steps[:2], None]
    record = tiny.metrics(run)
    with pytest.raises(UserError, match="diverged at step 3 before, and would again; the checkpoint of step 2 is kept"):
        train(tiny.sft(steps=5, checkpoint_every=2), tmp_path / "run")
    assert tiny.metrics(run) == record


def test_a_run_that_cannot_be_started_again_keeps_its_record(chain: Chain, tmp_path: Path) -> None:
    parent = train(tiny.sft(), tmp_path / "parent").path
    run = train(tiny.online(chain, policy=str(parent)), tmp_path / "run")
    info = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps(info | {"status": "failed"}))
    parent.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="policy: .*parent is neither a run directory"):
        train(tiny.online(chain, policy=str(parent)), tmp_path / "run")
    assert len(tiny.rows(run)) == 3 and run.checkpoints() == [3]


def test_a_finished_run_whose_parent_was_made_anew_is_refused(chain: Chain, tmp_path: Path) -> None:
    parent = train(tiny.sft(), tmp_path / "parent").path
    config = tiny.online(chain, policy=str(parent))
    train(config, tmp_path / "run")
    shutil.rmtree(parent)
    train(tiny.sft(seed=1), parent)
    with pytest.raises(UserError, match="run: its policy .*parent has been made anew since.*; choose another"):
        train(config, tmp_path / "run")


def test_provenance_names_fields_and_sources(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="provenance.lrr: no such field .did you mean 'lr'"):
        train(tiny.sft(provenance={"lrr": "our choice"}), tmp_path / "run")
    with pytest.raises(UserError, match="provenance.lr: "):
        train(tiny.sft(provenance={"lr": "our choise"}), tmp_path / "run")
    run = train(tiny.sft(provenance={"lr": "our choice", "task": "our choice"}), tmp_path / "run")
    assert run.info["provenance"] == {"lr": "our choice", "task": "our choice"}
    assert run.info["prompt_style"] == "raw"


def test_the_default_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert train(tiny.sft()).path == tmp_path / "runs" / "sft"


@pytest.mark.parametrize("stage", ["sft", "reward_model", "online", "offline"])
def test_a_learning_rate_that_is_far_too_high(chain: Chain, tmp_path: Path, stage: str) -> None:
    makers: dict[str, Callable[..., tiny.Config]] = {
        "sft": lambda **changes: tiny.sft(**changes),
        "reward_model": lambda **changes: tiny.reward_model(chain, **changes),
        "online": lambda **changes: tiny.online(chain, **changes),
        "offline": lambda **changes: tiny.offline(chain, **changes),
    }
    with pytest.raises(UserError, match="diverged, (loss|grad_norm) is (nan|inf) at step [12]"):
        train(makers[stage](lr=1e30), tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert run.status == "diverged"
    assert run.info["diverged_at"] == tiny.rows(run)[-1]["step"]


def test_a_broken_gradient_never_reaches_the_weights() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = Optimizer([weight], sft.AdamW(), 0.1, sft.CosineDecay(), 10)
    weight.grad = torch.tensor([1.0, math.nan])
    assert not torch.isfinite(optimizer.step(1, None))
    assert torch.equal(weight.detach(), torch.ones(2))


def test_a_fault_of_ours_is_recorded_and_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*args: Any) -> float:
        raise ZeroDivisionError

    monkeypatch.setattr(sft, "descend", fault)
    with pytest.raises(ZeroDivisionError):
        train(tiny.sft(), tmp_path / "run")
    assert load_run(tmp_path / "run").status == "failed"


def test_a_full_disk_leaves_a_readable_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the second step's line is half written, nothing more fits."""
    write, full = os.write, []

    def limited(file: int, content: Any) -> int:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        if b'"step": 2' in bytes(content):
            full.append(True)
            return write(file, bytes(content)[:9])
        return write(file, content)

    monkeypatch.setattr(os, "write", limited)
    with pytest.raises(UserError, match=r"metrics.jsonl: cannot be written .No space left on device; .* MB free"):
        train(tiny.sft(checkpoint_every=1), tmp_path / "run")
    monkeypatch.undo()
    run = load_run(tmp_path / "run")
    assert run.status == "running"  # no room for a status either
    assert [row["step"] for row in tiny.rows(run)] == [1]
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes().endswith(b"\n")
    assert run.checkpoints() == [1] and len(run.samples(1)) == 16
    assert train(tiny.sft(checkpoint_every=1), tmp_path / "run").status == "finished"


# --- Going on

STAGES_OF = {
    "sft": lambda chain, **changes: tiny.sft(**({"steps": 6, "checkpoint_every": 2} | changes)),
    "reward_model": lambda chain, **changes: tiny.reward_model(chain, **({"checkpoint_every": 2} | changes)),
    "online": lambda chain, **changes: tiny.online(chain, **({"total_episodes": 32, "checkpoint_every": 2} | changes)),
    "offline": lambda chain, **changes: tiny.offline(chain, **({"checkpoint_every": 2} | changes)),
}


def cut_short(config: tiny.Config, out: Path, step: int) -> list[int]:
    """Run until a step is recorded, and no further; the steps made."""
    made: list[int] = []

    def seen(now: Progress) -> None:
        made.append(now.step)
        if now.step == step:
            raise MemoryError  # as bad as any

    with pytest.raises(MemoryError):
        train(config, out, progress=seen)
    return made


@pytest.mark.parametrize("stage", STAGES_OF)
def test_a_run_that_was_cut_short_goes_on_to_the_same_bits(chain: Chain, tmp_path: Path, stage: str) -> None:
    config, out, notices = STAGES_OF[stage](chain), tmp_path / "run", []
    whole = train(config, tmp_path / "whole")
    assert cut_short(config, out, 3) == [1, 2, 3]
    assert load_run(out).status == "failed"
    made: list[int] = []
    run = train(config, out, progress=lambda now: made.append(now.step), notice=notices.append)
    assert made == list(range(3, whole.info["steps"] + 1))
    assert notices == [f"{out}: goes on after step 2 of {whole.info['steps']}"]
    assert [resume["step"] for resume in run.info["resumes"]] == [2] and run.info["resumes"][0]["time"] > "2026"
    assert left_behind(out) == left_behind(whole.path)
    assert run.timings()["step"] == whole.timings()["step"]
    elapsed = run.timings()["elapsed"]
    assert elapsed == sorted(elapsed)


def test_the_first_evaluation_and_the_pairs_are_not_made_again(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out = tiny.reward_model(chain), tmp_path / "run"
    whole = train(config, tmp_path / "whole")
    cut_short(config, out, 1)  # before any checkpoint
    monkeypatch.setattr(PairSampler, "sample", lambda *args: pytest.fail("these pairs were sampled before"))
    run = train(config, out)
    assert [resume["step"] for resume in run.info["resumes"]] == [0]
    assert left_behind(out) == left_behind(whole.path)
    assert [row["step"] for row in run.evaluations()] == [0, 4]


@pytest.mark.parametrize(("keep", "kept"), [("last", [6]), ("every", [2, 4, 6]), ("best", [4])])
def test_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str, kept: list[int]) -> None:
    """Win rates of 0.2, 0.5 and, later, 0.5 again: of equals the earlier is the best."""
    evaluate = Evaluator.evaluate

    def judged(self: Evaluator, policy: Any, step: int, budget: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        row, samples = evaluate(self, policy, step, budget)
        return row | {"win_rate": {2: 0.2}.get(step, 0.5)}, samples

    monkeypatch.setattr(Evaluator, "evaluate", judged)
    config = tiny.sft(steps=6, checkpoint_every=2, keep=keep)
    cut_short(config, tmp_path / "run", 5)
    run = train(config, tmp_path / "run")
    assert run.checkpoints() == kept and run.info["resumes"][0]["step"] == 4
    assert not (run.path / "trainer").exists()


def test_the_best_reward_model_is_the_most_accurate(chain: Chain, tmp_path: Path) -> None:
    config = tiny.reward_model(chain, checkpoint_every=1, keep="best")
    run = train(config, tmp_path / "run")
    accuracy = {row["step"]: row["accuracy"] for row in run.evaluations() if row["step"]}
    assert run.checkpoints() == [max(accuracy, key=lambda step: (accuracy[step], -step))]
    cut_short(config, tmp_path / "again", 3)  # every checkpoint has a mean and a scale of its own
    assert left_behind(train(config, tmp_path / "again").path) == left_behind(run.path)


def test_a_run_does_not_go_on_from_another_parent(chain: Chain, tmp_path: Path) -> None:
    parent = train(tiny.sft(), tmp_path / "parent").path
    config = tiny.online(chain, policy=str(parent), checkpoint_every=1)
    cut_short(config, tmp_path / "run", 2)
    before = left_behind(tmp_path / "run")
    shutil.rmtree(parent)
    train(tiny.sft(seed=1), parent)
    with pytest.raises(UserError, match="run: its policy .*parent has been made anew since.*; choose another --out"):
        train(config, tmp_path / "run")
    assert left_behind(tmp_path / "run") == before


def test_a_second_process_is_refused_and_a_finished_run_needs_no_lock(tmp_path: Path) -> None:
    cut_short(tiny.sft(), tmp_path / "run", 2)
    with RunLock(tmp_path / "run") as lock:
        lock.acquire()
        with pytest.raises(UserError, match="run: another process is at work here"):
            train(tiny.sft(), tmp_path / "run")
        lock.release()
        train(tiny.sft(), tmp_path / "run")
        lock.acquire()
        assert train(tiny.sft(), tmp_path / "run").status == "finished"


def test_what_a_process_left_that_was_killed_just_after_the_end_is_removed(tmp_path: Path) -> None:
    run = train(tiny.sft(), tmp_path / "run")
    before = left_behind(run.path)
    (run.path / "trainer" / "step-3").mkdir(parents=True)
    (run.path / "trainer" / "step-3" / "state.json").write_text("{}")
    (run.path / ".lock").write_text("")
    assert train(tiny.sft(), run.path).status == "finished"
    assert left_behind(run.path) == before
    assert not (run.path / "trainer").exists() and not (run.path / ".lock").exists()


def test_a_signal_stops_after_the_step_at_hand(tmp_path: Path) -> None:
    config, notices = tiny.sft(steps=4, checkpoint_every=4), []

    def seen(now: Progress) -> None:
        if now.step in (2, 4):
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit) as leaving:
        train(config, tmp_path / "run", progress=seen, notice=notices.append)
    assert leaving.value.code == 143
    run = load_run(tmp_path / "run")
    assert (run.status, len(tiny.rows(run)), run.checkpoints()) == ("interrupted", 2, [])
    with pytest.raises(SystemExit):  # in the last step: the run ends, and the signal still counts
        train(config, tmp_path / "run", progress=seen, notice=notices.append)
    assert notices == [
        f"{run.path}: stopped after step 2; the same command goes on from there",
        f"{run.path}: goes on after step 2 of 4",
    ]
    assert left_behind(run.path) == left_behind(train(config, tmp_path / "whole").path)


def test_another_number_of_threads_is_told(tmp_path: Path) -> None:
    cut_short(tiny.sft(checkpoint_every=1), tmp_path / "run", 2)
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(info | {"threads": 64}))
    notices: list[str] = []
    train(tiny.sft(checkpoint_every=1), tmp_path / "run", notice=notices.append)
    assert "threads 64 then, 1 now; numbers may differ in the last bits" in notices[0]


def test_a_run_does_not_go_on_with_other_data(chain: Chain, tmp_path: Path) -> None:
    words = Miniature().vocabulary()[2:]
    records = [{"prompt": f"{a} {b}", "completion": f"{b} {a}"} for a, b in pairwise(words[:41])]
    file = tiny.write_jsonl(tmp_path / "data.jsonl", records[:40])
    heldout = tiny.write_jsonl(tmp_path / "heldout.jsonl", records[:4])
    model = {"name": "pretrained", "path": str(chain.policy)}
    task = {"name": "local", "path": str(file), "evaluation_path": str(heldout)}
    config = tiny.sft(task=task, model=model, steps=None, checkpoint_every=1, batch_size=8)
    cut_short(config, tmp_path / "run", 2)
    one_changed = [*records[:-1], records[-1] | {"completion": records[0]["completion"]}]
    for other in (records[:-8], one_changed):  # fewer steps; as many of everything
        tiny.write_jsonl(file, other)
        with pytest.raises(UserError, match="run: its data have changed since it began .the content of task.path.;"):
            train(config, tmp_path / "run")
        assert len(tiny.rows(load_run(tmp_path / "run"))) == 2
    tiny.write_jsonl(file, records)
    run = train(config, tmp_path / "run")
    assert run.info["resumes"][0]["step"] == 1
    assert run.info["data"].keys() == {"task.path", "task.evaluation_path"}
    tiny.write_jsonl(heldout, records[1:5])
    with pytest.raises(UserError, match="run: its data have changed since it began .the content of task.evaluation_pa"):
        train(config, tmp_path / "run")
    heldout.unlink()
    assert train(config, tmp_path / "run").status == "finished"  # what is gone is no other


@pytest.mark.parametrize("cut", [False, True])
def test_a_run_and_what_it_was_made_of_may_be_moved(chain: Chain, tmp_path: Path, cut: bool) -> None:
    """To other depths each, so that no relative path holds; then the same command, with where they are now."""
    policy = Path(shutil.copytree(chain.policy, tmp_path / "sft"))
    words = Miniature().vocabulary()[2:]
    file = tiny.write_jsonl(tmp_path / "data.jsonl", [{"prompt": f"{a} {b}"} for a, b in pairwise(words[:40])])

    def config(policy: Path, file: Path) -> dict[str, Any]:
        task = {"name": "local", "path": str(file)}
        return tiny.online(chain, policy=str(policy), task=task, checkpoint_every=1, total_episodes=24)

    if cut:
        cut_short(config(policy, file), tmp_path / "run", 2)
    else:
        train(config(policy, file), tmp_path / "run")
    (tmp_path / "here" / "and").mkdir(parents=True)
    run = (tmp_path / "run").rename(tmp_path / "here" / "and" / "there")
    moved = policy.rename(tmp_path / "here" / "sft"), file.rename(tmp_path / "here" / "and" / "data.jsonl")
    before = left_behind(run)
    with pytest.raises(UserError, match="sft"):
        train(config(policy, file), run)  # nothing is there any more
    assert left_behind(run) == before

    said: list[str] = []
    found = train(config(*moved), run, notice=said.append)
    assert said[0] == f"{run}: goes on after step 1 of 3" if cut else said == [f"{run}: finished already, left alone"]
    assert found.status == "finished" and (cut or left_behind(run) == before)

    other = train(tiny.sft(seed=1), tmp_path / "other").path
    for changed, what in (((other, moved[1]), "its policy"), ((moved[0], other / "config.yaml"), "its data")):
        with pytest.raises(UserError, match=f"there: {what} .*(made anew|changed) since"):
            train(config(*changed), run)


SOON = {"name": "wall_time", "hours": 1e-9, "patience": 2}


def test_a_condition_stops_a_run_in_time(tmp_path: Path) -> None:
    config = tiny.sft(steps=5, checkpoint_every=1, stop_when=[SOON])
    said: list[str] = []
    run = train(config, tmp_path / "run", notice=said.append)
    assert (run.status, run.complete, run.info["stopped_at"]) == ("stopped", True, 2)
    assert run.info["stopped_by"] == "wall_time"
    assert len(tiny.rows(run)) == 2
    rates = {row["step"]: row["win_rate"] for row in run.evaluations()}
    best = run.info["go_back_to"]
    assert rates[best] == max(rates.values())
    assert run.checkpoint().name == f"step-{best}"  # what a child starts from
    assert any("stopped early, wall_time at step 2" in text for text in said)
    train(config, tmp_path / "run", notice=said.append)
    assert said[-1].endswith("stopped already, left alone")
    child = train(tiny.sft(model={"name": "pretrained", "path": str(run.path)}, steps=1), tmp_path / "child")
    assert child.info["parents"][0]["hash"] == run.hash()


def test_a_stopped_run_without_its_best_step_is_no_parent(tmp_path: Path) -> None:
    run = train(tiny.sft(steps=5, checkpoint_every=5, stop_when=[SOON]), tmp_path / "run")
    assert (run.status, run.info["go_back_to"], run.checkpoints()) == ("stopped", 0, [])
    with pytest.raises(UserError, match="was stopped at step 2, and no checkpoint is kept of step 0, the best"):
        train(tiny.sft(model={"name": "pretrained", "path": str(run.path)}), tmp_path / "child")


def test_a_condition_on_what_a_stage_does_not_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"stop_when.0: entropy looks at what only runs of stage online record"):
        train(tiny.sft(stop_when=[{"name": "entropy", "low": 0.1}]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_of_before_a_field_existed_is_the_same_run(tmp_path: Path) -> None:
    run = train(tiny.sft(), tmp_path / "run")
    text = (run.path / "config.yaml").read_text()
    (run.path / "config.yaml").write_text(text.replace("keep: every\n", ""))
    assert "keep" not in load_run(run.path).config
    assert train(tiny.sft(), run.path).status == "finished"
    with pytest.raises(UserError, match="of another configuration .keep: 'every' there, 'last' here"):
        train(tiny.sft(keep="last"), run.path)


@pytest.mark.parametrize("cut", [True, False])
def test_code_or_a_template_that_changed_meanwhile_is_refused(cut: bool, chain: Chain, tmp_path: Path) -> None:
    policy = Path(shutil.copytree(load_run(chain.policy).checkpoint(), tmp_path / "base"))
    function = tmp_path / "mine.py"
    function.write_text("def f(prompts, completions, **c):\n    return [float(len(text)) for text in completions]\n")
    config = tiny.online(chain, policy=str(policy), rewards=["mine:f"], checkpoint_every=1, total_episodes=24)
    (tmp_path / "online.yaml").write_text(json.dumps(config))
    if cut:
        cut_short(tmp_path / "online.yaml", tmp_path / "run", 2)
    else:
        train(tmp_path / "online.yaml", tmp_path / "run")
    files = {function: r"its code has changed since it began \(the content of rewards.0.name/mine.py\)"}
    files[policy / "tokenizer.json"] = r"its policy .*base has been made anew since \(tokenizer.json\)"
    for file, message in files.items():
        before = file.read_bytes()
        file.write_bytes(before + b"\n")
        with pytest.raises(UserError, match=message):
            train(tmp_path / "online.yaml", tmp_path / "run")
        file.write_bytes(before)
    assert train(tmp_path / "online.yaml", tmp_path / "run").status == "finished"


def test_a_limit_of_file_sizes_is_the_users_to_mend(chain: Chain, tmp_path: Path) -> None:
    """As a quota is; a checkpoint meets it, whose error is safetensors' own."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
    try:
        with pytest.raises(UserError, match=r"step-\d+.*: cannot be written \(.*File too large.*\); what was written"):
            train(tiny.online(chain, checkpoint_every=1, total_episodes=24), tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    run = load_run(tmp_path / "run")
    assert run.status == "failed" and [row["step"] for row in run.evaluations()] == [0, 1]
    assert train(tiny.online(chain, checkpoint_every=1, total_episodes=24), tmp_path / "run").status == "finished"


DATED = "{{ strftime_now('%d %b %Y') }} {% for m in messages %}{{ m['content'] }} {% endfor %}"


class OtherDay(datetime):
    """The clock of four years ago."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return datetime(2022, 2, 9, 13, 5, tzinfo=tz)


def test_a_run_that_goes_on_another_day_asks_the_prompts_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = foreign.policys(template=DATED)
    foreign.save_policy(tmp_path / "policy", tokenizer)
    foreign.save_reward_model(tmp_path / "reward", foreign.reward_models(template="{{ strftime_now('%d') }}" + DATED))
    pairs = foreign.write_pairs(tmp_path / "pairs.jsonl")
    task = {"name": "local", "path": str(pairs), "prompt_style": "chat_template", "holdout": 0.4}
    parents = Chain(tmp_path / "policy", tmp_path / "reward")
    changes = {"missing_eos": "keep", "max_completion_tokens": 6, "checkpoint_every": 1}
    config, out = tiny.online(parents, task=task, **changes), tmp_path / "run"
    seen: list[str] = []
    encode = Codec.encode

    def spied(self: Codec, *texts: Any) -> Iterator[Any]:
        for prompt, completions in encode(self, *texts):
            seen.append(self.tokenizer.decode(prompt))
            yield prompt, completions

    monkeypatch.setattr(Codec, "encode", spied)
    monkeypatch.setattr(session_module, "datetime", OtherDay)
    cut_short(config, out, 2)
    monkeypatch.setattr(session_module, "datetime", datetime)
    assert {text[:11] for text in seen} == {"09 Feb 2022", "0909 Feb 20"}  # the policy's and the reward model's
    seen.clear()
    run = train(config, out)
    evaluate_run(out, judge="reward_model")
    assert seen and {text[:11] for text in seen} == {"09 Feb 2022", "0909 Feb 20"}
    assert run.info["clock"] == "2022-02-09T13:05:00" and run.info["started"] > "2026"
    own, later = ([row["proxy_mean"] for row in run.evaluations(judge)] for judge in ("none", "reward_model"))
    assert own == pytest.approx(later, abs=1e-6)
    seen.clear()
    train(config, tmp_path / "new")
    assert {text[:11] for text in seen}.isdisjoint({"09 Feb 2022", "0909 Feb 20"})

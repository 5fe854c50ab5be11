"""Runs by hand: which location may read otherwise, and what it must lead to."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hub import LoopbackHub
from overopt import config as configuration
from overopt.config import Location, block
from overopt.errors import UserError
from overopt.records import Run, RunWriter, hash_parent, load_run, parent_files
from overopt.tasks import Local, Miniature
from overopt.training.run.sources import (
    check_data,
    check_data_files,
    check_sources,
    data_hashes,
    may_lie_elsewhere,
    source_hashes,
    state_to_continue,
)
from overopt.training.stages.sft import SFT

DATA = "5" * 64


@block
class Stage:
    policy: Location
    task: Local | Miniature = Miniature()


def parent(path: Path, lr: float = 0.1) -> Path:
    """A finished run whose only checkpoint is a file of a few bytes."""
    with RunWriter.create(path, f"stage: sft\nlr: {lr}\n", {"stage": "sft"}) as writer:
        with writer.checkpoint(1) as folder:
            (folder / "model.safetensors").write_bytes(b"weights")
        writer.finish("finished")
    return path


@pytest.fixture
def run(tmp_path: Path) -> Run:
    policy = parent(tmp_path / "sft")
    info = {
        "parents": [{"role": "policy", "path": str(policy), "hash": hash_parent(policy)}],
        "data": {"task.path": DATA},
    }
    with RunWriter.create(tmp_path / "run", "stage: online\n", info) as writer:
        writer.finish("finished")
    return load_run(tmp_path / "run")


def test_every_file_of_a_task_has_its_hash(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text("{}\n")
    task = Local(path=str(tmp_path / "pairs.jsonl"), evaluation_path=str(tmp_path / "gone.jsonl"))
    assert data_hashes(task) == {"task.path": hashlib.sha256(b"{}\n").hexdigest()}
    assert data_hashes(Miniature()) == {}
    assert data_hashes(SimpleNamespace()) == {}


def test_data_on_the_hub_are_hashed_unless_their_commit_settles_it(loopback_hub: LoopbackHub) -> None:
    commit = loopback_hub.add("dataset", "a/b", {"x.jsonl": "{}\n"})
    task = Local(path=f"hf://datasets/a/b@{commit}/x*")
    asked = len(loopback_hub.requests)
    assert data_hashes(task, {commit}) == {} and len(loopback_hub.requests) == asked
    assert data_hashes(task) == {"task.path": hashlib.sha256(b"{}\n").hexdigest()}


def test_the_shards_of_a_folder_or_a_pattern_are_hashed_with_their_order(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    contents = {"a.jsonl": b'{"x": 1}\n', "b.jsonl": b'{"x": 2}\n'}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    listed = "".join(f"{name} {hashlib.sha256(content).hexdigest()}\n" for name, content in contents.items())
    both = {"task.path": hashlib.sha256(listed.encode()).hexdigest()}
    assert data_hashes(Local(path=str(folder))) == data_hashes(Local(path=str(folder / "*.jsonl"))) == both
    one = {"task.path": hashlib.sha256(contents["a.jsonl"]).hexdigest()}
    assert data_hashes(Local(path=str(folder / "a*"))) == one
    (folder / "b.jsonl").write_bytes(b"{}\n")
    assert data_hashes(Local(path=str(folder))) != both
    assert data_hashes(Local(path=str(tmp_path / "none*"))) == {}


def test_what_is_known_by_hash_may_lie_elsewhere(run: Run) -> None:
    addresses = ["policy", "policy.path", "task.path", "task.evaluation_path", "reference", "policy_loss"]
    assert [may_lie_elsewhere(run, address) for address in addresses] == [True, True, True, False, False, False]


def test_data_of_other_content_are_refused(run: Run, tmp_path: Path) -> None:
    check_data_files(run, {"task.path": DATA})
    check_data_files(run, {})  # gone by now
    check_data_files(load_run(parent(tmp_path / "before")), {"task.path": DATA})  # recorded no hashes yet
    with pytest.raises(UserError, match=r"run: its data have changed since it began \(the content of task.path\)"):
        check_data_files(run, {"task.path": "6" * 64})


def sources(run: Run, policy: Path, *moved: str, **more: Any) -> None:
    check_sources(run, Stage(policy=str(policy), **more), moved)


def test_the_parent_at_its_place(run: Run, tmp_path: Path) -> None:
    sources(run, tmp_path / "sft")
    (tmp_path / "sft" / "config.yaml").write_text("stage: sft\nlr: 0.2\n")
    with pytest.raises(UserError, match="run: its policy .*sft has been made anew since; choose another --out"):
        sources(run, tmp_path / "sft")
    (tmp_path / "sft").rename(tmp_path / "archive")
    sources(run, tmp_path / "sft")  # gone is not another


def test_the_parent_at_another_place(run: Run, tmp_path: Path) -> None:
    (tmp_path / "sft").rename(tmp_path / "moved")
    sources(run, tmp_path / "moved", "policy")
    other = parent(tmp_path / "other", lr=0.2)
    with pytest.raises(UserError, match="run: its policy .*other has been made anew since; choose another --out"):
        sources(run, other, "policy")
    with pytest.raises(UserError, match="run: made with another policy, and .*nowhere does not exist"):
        sources(run, tmp_path / "nowhere", "policy")


def test_data_at_another_place(run: Run, tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text("{}\n")
    task = Local(path=str(tmp_path / "pairs.jsonl"))
    with pytest.raises(UserError, match="its data have changed"):
        sources(run, tmp_path / "sft", "task.path", task=task)
    with pytest.raises(UserError, match="run: made with another task.path, and .*nowhere does not exist"):
        sources(run, tmp_path / "sft", "task.path", task=Local(path=str(tmp_path / "nowhere")))


def plain_folder(path: Path) -> Path:
    path.mkdir()
    for name in ("config.json", "tokenizer.json", "generation_config.json", "chat_template.jinja"):
        (path / name).write_text(name)
    return path


@pytest.mark.parametrize("name", ["tokenizer.json", "generation_config.json", "chat_template.jinja", "config.json"])
def test_a_file_of_the_parents_folder_that_changed_is_named(name: str, tmp_path: Path) -> None:
    base = plain_folder(tmp_path / "base")
    known = {"role": "policy", "path": str(base), "hash": hash_parent(base)}
    for out, parents in (("old", [known]), ("run", [known | {"files": parent_files(base)}])):
        with RunWriter.create(tmp_path / out, "stage: online\n", {"parents": parents}) as writer:
            writer.finish("finished")
    sources(load_run(tmp_path / "run"), base)
    (base / name).write_text("another")
    with pytest.raises(UserError, match=rf"run: its policy .*base has been made anew since \({name}\); choose"):
        sources(load_run(tmp_path / "run"), base)
    if name != "config.json":
        sources(load_run(tmp_path / "old"), base)  # it did not know them


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda run: (run / "config.yaml").write_text("stage: sft\nlr: 1\n"), "config.yaml"),
        (lambda run: (run / "checkpoints/step-1/config.json").write_text("{}"), "checkpoints/step-1/config.json"),
        (lambda run: (run / "checkpoints/step-1/tokenizer.json").write_text("{}"), "checkpoints/step-1/tokenizer.json"),
        (lambda run: (run / "pairs.jsonl.gz").write_bytes(b""), "pairs.jsonl.gz"),
    ],
)
def test_a_file_of_a_parent_run_that_changed_is_named(change: Any, what: str, tmp_path: Path) -> None:
    sft = parent(tmp_path / "sft")
    info = {"parents": [{"role": "policy", "path": str(sft), "hash": hash_parent(sft), "files": parent_files(sft)}]}
    with RunWriter.create(tmp_path / "run", "stage: online\n", info) as writer:
        writer.finish("finished")
    sources(load_run(tmp_path / "run"), sft)
    change(sft)
    with pytest.raises(UserError, match=rf"made anew since \({what}\); choose another --out"):
        sources(load_run(tmp_path / "run"), sft)


def test_another_step_to_go_back_to_is_another_parent(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path / "sft", "stage: sft\n", {"stage": "sft"}) as writer:
        for step in (1, 2):
            with writer.checkpoint(step) as folder:
                (folder / "model.safetensors").write_bytes(b"weights %d" % step)
        writer.finish("stopped", go_back_to=1)
    first = hash_parent(tmp_path / "sft"), parent_files(tmp_path / "sft")
    assert list(first[1]) == ["config.yaml", "checkpoints/step-1/model.safetensors"]
    with RunWriter.open(tmp_path / "sft") as writer:
        writer.update(go_back_to=2)
    again = hash_parent(tmp_path / "sft"), parent_files(tmp_path / "sft")
    assert again[0] != first[0] and list(again[1]) == ["config.yaml", "checkpoints/step-2/model.safetensors"]


MINE = """
from overopt.config import block
from overopt.tasks import Miniature

import helper

@block
class Mine(Miniature):
    pass
"""


def test_code_and_tokenizers_are_data_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "helper.py").write_text("A = 1\n")
    (tmp_path / "mine_task.py").write_text(MINE)
    tree = {"model": {"tokenizer": str(plain_folder(tmp_path / "words"))}, "task": {"name": "mine_task:Mine"}}
    stage = configuration.load(SFT, tree, base=tmp_path)
    found = source_hashes(stage)
    names = ("chat_template.jinja", "config.json", "generation_config.json", "tokenizer.json")
    assert sorted(found) == sorted([f"model.tokenizer/{n}" for n in names] + ["task/helper.py", "task/mine_task.py"])
    assert found["task/helper.py"] == hashlib.sha256(b"A = 1\n").hexdigest()

    with RunWriter.create(tmp_path / "run", "stage: sft\n", {"data": found}) as writer:
        writer.finish("finished")
    run = load_run(tmp_path / "run")
    check_data_files(run, source_hashes(stage))
    assert may_lie_elsewhere(run, "model.tokenizer")
    (tmp_path / "helper.py").write_text("A = 2\n")
    with pytest.raises(UserError, match=r"its code has changed since it began \(the content of task/helper.py\)"):
        check_data_files(run, source_hashes(stage))
    (tmp_path / "helper.py").write_text("A = 1\n")
    (tmp_path / "words" / "added_tokens.json").write_text("{}")
    with pytest.raises(UserError, match=r"began \(the content of model.tokenizer/added_tokens.json\)"):
        check_data_files(run, source_hashes(stage))
    sys.modules.pop("helper", None)


PARENT = {"role": "policy", "path": "sft", "hash": "abc"}
MACHINE = {"threads": 1, "device": "cpu"}


@pytest.fixture
def cut_short(tmp_path: Path) -> Path:
    info = {**MACHINE, "parents": [PARENT], "steps": 4, "dropped": {"prompts": {"too long": 1}}}
    info |= {"data": {"task.path": "abc"}}
    with RunWriter.create(tmp_path / "run", "stage: online\n", info) as writer:
        writer.log(1, {"lr": 1.0})
        writer.commit_state(1, {}, {"elapsed": 0.0}, lambda file: file.write_bytes(b"") and None)
    return tmp_path / "run"


def test_the_same_parents_on_the_same_machine_go_on_without_a_word(cut_short: Path) -> None:
    state = state_to_continue(cut_short, [{**PARENT, "path": "moved/sft"}], MACHINE, pytest.fail)
    assert state is not None and state.step == 1


def test_another_machine_is_told_and_another_parent_refused(cut_short: Path) -> None:
    said: list[str] = []
    assert state_to_continue(cut_short, [PARENT], {"threads": 8, "device": "cpu"}, said.append) is not None
    assert said == [
        f"{cut_short}: threads 1 then, 8 now; numbers may differ in the last bits from those of one uninterrupted run"
    ]
    with pytest.raises(UserError, match="run: its policy sft has been made anew since; choose another --out"):
        state_to_continue(cut_short, [{**PARENT, "hash": "abd"}], MACHINE, pytest.fail)


def test_without_a_state_nothing_is_compared(cut_short: Path) -> None:
    (cut_short / "trainer" / "step-1" / "state.json").unlink()
    said: list[str] = []
    assert state_to_continue(cut_short, [{**PARENT, "hash": "abd"}], MACHINE, said.append) is None
    assert said == [f"{cut_short}: the state of step 1 is damaged (state.json cannot be read) and skipped"]


def test_other_data_are_refused(cut_short: Path) -> None:
    check_data(load_run(cut_short), 4, {"prompts": {"too long": 1}}, {"task.path": "abc"})
    with pytest.raises(
        UserError, match=r"began \(steps 4 then, 3 now, dropped .*1.* then, .*2.* now\); choose another"
    ):
        check_data(load_run(cut_short), 3, {"prompts": {"too long": 2}}, {"task.path": "abc"})
    with pytest.raises(UserError, match=r"began \(the content of task.path\); choose another --out"):
        check_data(load_run(cut_short), 4, {"prompts": {"too long": 1}}, {"task.path": "abd"})

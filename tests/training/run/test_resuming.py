from __future__ import annotations

from pathlib import Path

import pytest

from overopt.errors import UserError
from overopt.records import RunWriter, load_run
from overopt.training.run.resuming import check_data, state_to_continue

PARENT = {"role": "policy", "path": "sft", "hash": "abc"}
MACHINE = {"threads": 1, "device": "cpu"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    info = {**MACHINE, "parents": [PARENT], "steps": 4, "dropped": {"prompts": {"too long": 1}}}
    info |= {"data": {"task.path": "abc"}}
    with RunWriter.create(tmp_path / "run", "stage: online\n", info) as writer:
        writer.log(1, {"lr": 1.0})
        writer.commit_state(1, {}, {"elapsed": 0.0}, lambda file: file.write_bytes(b"") and None)
    return tmp_path / "run"


def test_the_same_parents_on_the_same_machine_go_on_without_a_word(run: Path) -> None:
    state = state_to_continue(run, [{**PARENT, "path": "moved/sft"}], MACHINE, pytest.fail)
    assert state is not None and state.step == 1


def test_another_machine_is_told_and_another_parent_refused(run: Path) -> None:
    said: list[str] = []
    assert state_to_continue(run, [PARENT], {"threads": 8, "device": "cpu"}, said.append) is not None
    assert said == [
        f"{run}: threads 1 then, 8 now; numbers may differ in the last bits from those of one uninterrupted run"
    ]
    with pytest.raises(UserError, match="run: its policy sft has been made anew since; choose another --out"):
        state_to_continue(run, [{**PARENT, "hash": "abd"}], MACHINE, pytest.fail)


def test_without_a_state_nothing_is_compared(run: Path) -> None:
    (run / "trainer" / "step-1" / "state.json").unlink()
    said: list[str] = []
    assert state_to_continue(run, [{**PARENT, "hash": "abd"}], MACHINE, said.append) is None
    assert said == [f"{run}: the state of step 1 is damaged (state.json cannot be read) and skipped"]


def test_other_data_are_refused(run: Path) -> None:
    check_data(load_run(run), 4, {"prompts": {"too long": 1}}, {"task.path": "abc"})
    with pytest.raises(
        UserError, match=r"began \(steps 4 then, 3 now, dropped .*1.* then, .*2.* now\); choose another"
    ):
        check_data(load_run(run), 3, {"prompts": {"too long": 2}}, {"task.path": "abc"})
    with pytest.raises(UserError, match=r"began \(the content of task.path\); choose another --out"):
        check_data(load_run(run), 4, {"prompts": {"too long": 1}}, {"task.path": "abd"})

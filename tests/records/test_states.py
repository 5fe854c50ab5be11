from __future__ import annotations

import os
from pathlib import Path

import pytest

from overopt.records import RunWriter, remove_states
from overopt.records.states import DamagedState, checkpoints_of, newest_state, prune, read_state, retained_states

CONFIG = "stage: sft\n"


@pytest.fixture
def writer(tmp_path: Path) -> RunWriter:
    """A run of four steps that kept the second and the fourth."""
    writer = RunWriter.create(tmp_path / "run", CONFIG, {})
    hashes: dict[int, dict[str, str]] = {}
    for step in range(1, 5):
        writer.log(step, {"lr": 1.0})
        if step % 2 == 0:
            with writer.checkpoint(step) as folder:
                (folder / "model.safetensors").write_bytes(bytes([step]))
            hashes[step] = writer.checkpoint_hashes(step)
            keep(writer, step, hashes)
    return writer


def keep(writer: RunWriter, step: int, hashes: dict[int, dict[str, str]]) -> None:
    writer.commit_state(step, hashes, {"seen": [step]}, lambda file: file.write_bytes(b"tensors") and None)


def test_a_state_says_what_the_record_was(writer: RunWriter) -> None:
    state = newest_state(writer.path, pytest.fail)
    assert state is not None
    assert (state.step, state.trainer, state.lengths) == (4, {"seen": [4]}, {"metrics.jsonl": 4 * 23})
    assert sorted(state.checkpoints) == [2, 4] and state.checkpoints[4] == writer.checkpoint_hashes(4)
    assert state.tensors.read_bytes() == b"tensors"
    assert newest_state(writer.path.parent, pytest.fail) is None


def test_two_states_are_retained_and_what_they_need(writer: RunWriter) -> None:
    writer.log(5, {"lr": 1.0})
    with writer.checkpoint(5) as folder:
        (folder / "model.safetensors").write_bytes(b"5")
    keep(writer, 5, {5: writer.checkpoint_hashes(5)})  # from now on only the last is wanted
    assert retained_states(writer.path) == [4, 5]
    assert sorted(path.name for path in (writer.path / "checkpoints").iterdir()) == ["step-2", "step-4", "step-5"]
    keep(writer, 6, {5: writer.checkpoint_hashes(5)})
    assert retained_states(writer.path) == [5, 6]
    assert sorted(path.name for path in (writer.path / "checkpoints").iterdir()) == ["step-5"]
    writer.keep_checkpoints([])
    assert retained_states(writer.path) == [5, 6] and list((writer.path / "checkpoints").iterdir()) == []
    remove_states(writer.path)
    remove_states(writer.path)
    assert retained_states(writer.path) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("trainer/step-4/tensors.safetensors", "trainer/step-4/tensors.safetensors is not as it was written"),
        ("trainer/step-4/state.json", "state.json is not as it was written"),
        ("checkpoints/step-4/model.safetensors", "checkpoints/step-4/model.safetensors is not as it was written"),
    ],
)
def test_a_single_bit_is_noticed_and_the_state_before_is_used(writer: RunWriter, name: str, message: str) -> None:
    content = bytearray((writer.path / name).read_bytes())
    content[-len(content) // 2] ^= 1
    (writer.path / name).write_bytes(content)
    warnings: list[str] = []
    state = newest_state(writer.path, warnings.append)
    assert state is not None and state.step == 2
    assert warnings == [f"the state of step 4 is damaged ({message}) and skipped"]


def test_what_is_missing_or_short_is_damage_and_a_removed_checkpoint_is_not(writer: RunWriter) -> None:
    prune(writer.path, [2, 4], [4])
    assert read_state(writer.path, 4).step == 4
    (writer.path / "checkpoints" / "step-4" / "model.safetensors").unlink()
    with pytest.raises(DamagedState, match="checkpoints/step-4/model.safetensors is missing"):
        read_state(writer.path, 4)
    (writer.path / "trainer" / "step-4" / "state.json").write_text("{")
    with pytest.raises(DamagedState, match="state.json cannot be read"):
        read_state(writer.path, 4)
    assert checkpoints_of(writer.path, 4) == set() and checkpoints_of(writer.path, 2) == {2}
    os.truncate(writer.path / "metrics.jsonl", 45)
    with pytest.raises(DamagedState, match="metrics.jsonl has 45 bytes of 46"):
        read_state(writer.path, 2)


def test_a_state_under_the_name_of_another_step_is_damaged(writer: RunWriter) -> None:
    (writer.path / "trainer" / "step-4").rename(writer.path / "trainer" / "step-99")
    with pytest.raises(DamagedState, match="it is of step 4"):
        read_state(writer.path, 99)


def test_whatever_lies_where_a_state_should_is_damaged_and_can_be_removed(writer: RunWriter) -> None:
    (writer.path / "trainer" / "step-6").write_text("")
    (writer.path / "trainer" / "step-8").symlink_to(writer.path / "trainer" / "step-2")
    said: list[str] = []
    state = newest_state(writer.path, said.append)
    assert state is not None and state.step == 4 and len(said) == 2
    prune(writer.path, [4], [2, 4])
    assert retained_states(writer.path) == [4]

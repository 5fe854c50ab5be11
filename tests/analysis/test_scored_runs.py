"""What checkpoints of one or more runs wrote for the same prompts, and what is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from overopt.analysis.scored_runs import scored_set_of_runs
from overopt.errors import UserError
from overopt.records import RunWriter

PARENTS = [{"role": role, "path": f"../{role}", "hash": role} for role in ("policy", "reward_model")]
START = {"a": (0.0, 5.0), "b": (1.0, 4.0)}


def make_run(path: Path, steps: dict[int, dict[str, Any]], parents: Any = PARENTS, split: str = "tuning") -> Path:
    """A run whose samples of each step have these scores (proxy, gold) by prompt."""
    with RunWriter.create(path, "stage: online\n", {"stage": "online", "parents": parents}) as writer:
        for step, scores in steps.items():
            writer.write_samples(step, rows(scores, split))
        writer.finish("finished")
    return path


def rows(scores: dict[str, Any], split: str = "tuning") -> list[dict[str, Any]]:
    return [
        {"prompt_id": prompt, "prompt": f"text of {prompt}", "split": split, "judge": "gold", "proxy": p, "gold": g}
        for prompt, (p, g) in scores.items()
    ]


def test_checkpoints_are_candidates_and_a_shared_start_is_one(tmp_path: Path) -> None:
    make_run(tmp_path / "kl", {0: START, 10: {"a": (1, 6), "b": (2, 5)}})
    make_run(tmp_path / "none", {0: START, 10: {"a": (9, 0), "b": (8, 1)}, 20: {"b": (10, -1), "a": (11, -2)}})
    found = scored_set_of_runs([tmp_path, tmp_path / "kl"])
    assert (found.name, found.proxy, found.gold) == (f"{tmp_path.name} and 1 more", "reward model", "gold")
    assert "come from different checkpoints and are not draws of one policy" in (found.without_kl or "")
    assert found.notes == ("4 checkpoints of kl, none; split tuning, judge gold",)
    assert [prompt.place for prompt in found.prompts] == ["a", "b"]
    assert [prompt.proxy.tolist() for prompt in found.prompts] == [[0, 1, 9, 11], [1, 2, 8, 10]]
    assert [prompt.gold.tolist() for prompt in found.prompts] == [[5, 6, 0, -2], [4, 5, 1, -1]]


def test_starts_that_are_not_known_to_be_one_are_two(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, {0: START}, parents=[]) for name in ("x", "y")]
    assert [prompt.proxy.tolist() for prompt in scored_set_of_runs(runs).prompts] == [[0, 0], [1, 1]]


def test_completions_of_another_token_limit_are_no_candidates(tmp_path: Path) -> None:
    run = make_run(tmp_path / "kl", {0: START, 10: START})
    with RunWriter.open(run) as writer:
        longer = [row | {"max_completion_tokens": 128} for row in rows({"a": (7.0, 7.0), "b": (8.0, 8.0)})]
        writer.write_samples(10, longer)
    assert [prompt.proxy.tolist() for prompt in scored_set_of_runs([run]).prompts] == [[0, 0], [1, 1]]


def test_the_split_with_the_most_checkpoints_is_taken(tmp_path: Path) -> None:
    run = make_run(tmp_path / "kl", {0: START, 10: START, 20: START})
    with RunWriter.open(run) as writer:
        for step in (10, 20):
            writer.write_samples(step, rows({"c": (1, 1), "d": (1, 1)}, split="test"))
    found = scored_set_of_runs([run])
    assert found.notes == ("3 checkpoints of kl; split tuning, judge gold",)
    assert [prompt.place for prompt in found.prompts] == ["a", "b"]


def test_a_prompt_must_have_been_completed_by_all(tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "kl", {0: START | {"c": (1, 1), "d": (1, None)}, 10: START | {"d": (1, 1), "e": (None, 1)}}
    )
    found = scored_set_of_runs([run])
    assert [prompt.place for prompt in found.prompts] == ["a", "b"]
    assert found.notes[1] == "left out: 2 prompts that not every checkpoint completed"


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    make_run(tmp_path / "kl", {0: START, 10: START})
    make_run(tmp_path / "sft", {5: {"a": (None, 1.0)}}, parents=[])
    make_run(tmp_path / "broken", {0: START, 5: START, 10: START})
    (tmp_path / "broken/samples/step-5.parquet").write_bytes(b"PAR1 or not")
    make_run(tmp_path / "changed", {0: START}, parents=[{"role": "policy"}])
    make_run(tmp_path / "later", {0: START})
    info = tmp_path / "later/run.json"
    info.write_text(info.read_text().replace('"schema_version": 1', '"schema_version": 99'))
    notes = scored_set_of_runs([tmp_path]).notes
    assert notes[0].startswith("3 checkpoints of broken, kl;")
    for note, start in zip(
        notes[1:],
        [
            "broken/samples/step-5.parquet: cannot be read as Parquet",
            "changed/run.json: parents not as overopt writes them",
            "later/run.json: schema_version 99, but this overopt reads up to 1",
            "sft: no completion has both proxy and gold",
        ],
        strict=True,
    ):
        assert note.startswith(f"left out: {tmp_path}/{start}")


def test_nothing_remains(tmp_path: Path) -> None:
    make_run(tmp_path / "sft", {5: {"a": (None, 1.0)}})
    with pytest.raises(UserError) as error:
        scored_set_of_runs([tmp_path])
    assert str(error.value).splitlines() == [
        f"no run with scored completions at or below {tmp_path}",
        f"left out: {tmp_path}/sft: no completion has both proxy and gold",
    ]


def test_scores_that_do_not_compare(tmp_path: Path) -> None:
    make_run(tmp_path / "seed-0", {0: START, 10: START})
    make_run(tmp_path / "seed-1", {0: START, 10: START}, parents=[PARENTS[0], PARENTS[1] | {"hash": "other"}])
    with pytest.raises(UserError, match=r"seed-0 and .*seed-1: scored by different reward models"):
        scored_set_of_runs([tmp_path])


def test_one_checkpoint_and_prompts_of_different_tasks(tmp_path: Path) -> None:
    one = make_run(tmp_path / "one", {0: START})
    with pytest.raises(UserError, match="one: only one checkpoint has scored completions"):
        scored_set_of_runs([one])
    other = make_run(tmp_path / "other", {10: {"c": (1, 1), "d": (2, 2)}})
    with pytest.raises(UserError, match="one, .*other: share fewer than two prompts; give runs of one task"):
        scored_set_of_runs([one, other])

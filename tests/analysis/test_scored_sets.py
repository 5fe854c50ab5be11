"""Every form of scored candidates, and what each refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_study import finished_run

from overopt.analysis.best_of_n import best_of_n
from overopt.analysis.scored_sets import read_scored_set
from overopt.errors import UserError
from overopt.records import RunWriter

EXCERPT = Path(__file__).parents[2] / "examples/data/realsumm_excerpt.jsonl"


def write(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def scored(prompt: Any, *scores: tuple[Any, Any]) -> dict[str, Any]:
    candidates = [{"text": f"text {i}", "proxy": proxy, "gold": gold} for i, (proxy, gold) in enumerate(scores)]
    return {"prompt": prompt, "candidates": candidates}


A, B = scored("a", (1, 0.5), (2, 0)), scored([{"role": "user", "content": "b"}], (0, 1), (3, 4))


def test_a_file_of_prompts(tmp_path: Path) -> None:
    found = read_scored_set(write(tmp_path / "set.jsonl", A, B))
    assert (found.name, found.proxy, found.gold, found.without_kl, found.notes) == (
        "set.jsonl", "proxy", "gold", None, (),
    )  # fmt: skip
    assert [prompt.place for prompt in found.prompts] == [f"{tmp_path}/set.jsonl:{line}" for line in (1, 2)]
    assert [prompt.proxy.tolist() for prompt in found.prompts] == [[1, 2], [0, 3]]
    assert [prompt.gold.tolist() for prompt in found.prompts] == [[0.5, 0], [1, 4]]


def test_uneven_prompts_are_said(tmp_path: Path) -> None:
    file = write(tmp_path / "set.jsonl", A, B, scored("c", (1, 1)), scored("d"), scored("e", (1, 1), (2, 2), (3, 3)))
    found = read_scored_set(file)
    assert len(found.prompts) == 3
    assert found.notes == (
        "left out: 2 prompts with fewer than two candidates",
        f"n ends at 2, the candidates at {file}:1; others have up to 3",
    )


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([{"prompt": "a"}], ':1: has neither candidates nor cands; expected {"prompt"'),
        ([A, {"candidates": []}], ":2: has no field 'prompt'; it has 'candidates'"),
        ([A, {"prompt": "c", "cands": []}], ":2: has no field 'candidates'; it has 'prompt', 'cands'"),
        ([A, B, scored("a", (1, 1), (2, 2))], ":3: the same prompt as {file}:1; put all its candidates on one line"),
        ([A, scored("b", (1, 1), (True, 2))], ":2: candidates[1]: proxy: expected a number, got true"),
        ([A, scored("b", (1, 1), (1, None))], ":2: candidates[1]: gold: expected a number, got null"),
        ([A, scored("b", (1, 1), (1, float("nan")))], ":2: candidates[1]: gold: expected a number, got NaN"),
        ([A, scored("b", (1, 1))], ":1: fewer than two prompts with at least two candidates; no interval"),
    ],
)
def test_bad_records(tmp_path: Path, records: list[Any], message: str) -> None:
    file = write(tmp_path / "set.jsonl", *records)
    with pytest.raises(UserError) as error:
        read_scored_set(file)
    assert str(error.value).startswith(str(file) + message.replace("{file}", str(file)))


def test_what_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none: does not exist; expected a JSONL file or a run directory"):
        read_scored_set(tmp_path / "none")
    with pytest.raises(UserError, match=r"not a run directory, it holds no run.json"):
        read_scored_set(tmp_path)
    with pytest.raises(UserError, match=r"--rouge rouge2-f1: .*set.jsonl has a proxy of its own"):
        read_scored_set(write(tmp_path / "set.jsonl", A, B), "rouge2-f1")


def test_human_scores_of_summaries() -> None:
    found = read_scored_set(EXCERPT)
    assert len(found.prompts) == 30
    assert {len(prompt.proxy) for prompt in found.prompts} == {14}
    assert (found.proxy, found.gold) == ("ROUGE-2 F1", "human score (LitePyramid recall)")
    assert "different systems" in (found.without_kl or "")
    curve = best_of_n(found.prompts)
    golds = [candidate["litepyramid_recall"] for line in EXCERPT.open() for candidate in json.loads(line)["cands"]]
    assert curve.gold.mean[0] == pytest.approx(sum(golds) / len(golds)), "n = 1 is a candidate at random"
    assert curve.gold.mean[13] == pytest.approx(0.538, abs=5e-4)
    assert curve.ceiling[13] == pytest.approx(0.711, abs=5e-4)
    assert curve.stops_rising == 8


def sample(prompt: str, proxy: float | None, gold: float | None, judge: str = "gold") -> dict[str, Any]:
    return {"prompt_id": prompt, "split": "tuning", "judge": judge, "proxy": proxy, "gold": gold}


def make_run(path: Path, *steps: list[dict[str, Any]]) -> Path:
    with RunWriter.create(path, "stage: online\n", {"stage": "online", "name": path.name}) as writer:
        for step, rows in enumerate(steps):
            writer.samples(step, rows)
        writer.finish("finished")
    return path


def test_a_run_with_several_samples_a_prompt(tmp_path: Path) -> None:
    one_each = [sample("a", 1, 1), sample("b", 1, 1)]
    several = [sample("a", 1, 2), sample("a", 3, 4), sample("b", 5, 6), sample("b", 7, 8), sample("b", None, 9)]
    other_judge = [sample("c", 1, 1, "model"), sample("c", 2, 2, "model")]
    found = read_scored_set(make_run(tmp_path / "kl", one_each, several + other_judge, several))
    assert found.notes == ("step 1, split tuning, judge gold: the draws of one checkpoint",)
    assert found.without_kl is None
    assert [prompt.proxy.tolist() for prompt in found.prompts] == [[1, 3], [5, 7]]
    assert [prompt.gold.tolist() for prompt in found.prompts] == [[2, 4], [6, 8]]


def test_a_run_with_one_sample_a_prompt_says_what_is_missing(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "kl", wins=32, proxy=1.0)
    with pytest.raises(UserError) as error:
        read_scored_set(run.path)
    assert str(error.value).startswith(
        f"{run.path}: has one sample a prompt (or none with both scores) at each step. Best-of-n needs "
        "several draws of one policy for each prompt, with proxy and gold (completions of different checkpoints are "
        "draws of different policies): sample one checkpoint several times"
    )
    with pytest.raises(UserError, match="empty: has no samples. Best-of-n needs"):
        read_scored_set(make_run(tmp_path / "empty"))


def test_a_run_with_broken_samples(tmp_path: Path) -> None:
    run = make_run(tmp_path / "kl", [sample("a", 1, 1)])
    (run / "samples/step-0.parquet").write_bytes(b"PAR1 or not")
    with pytest.raises(UserError, match="kl: the samples of step 0 cannot be read"):
        read_scored_set(run)

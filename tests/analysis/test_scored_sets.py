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

EXCERPT = Path(__file__).parents[2] / "examples/data/realsumm_excerpt.jsonl"


def write(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def scored(prompt: Any, *scores: tuple[Any, Any]) -> dict[str, Any]:
    candidates = [{"text": f"text {i}", "proxy": proxy, "gold": gold} for i, (proxy, gold) in enumerate(scores)]
    return {"prompt": prompt, "candidates": candidates}


A, B = scored("a", (1, 0.5), (2, 0)), scored([{"role": "user", "content": "b"}], (0, 1), (3, 4))


def test_a_file_of_prompts(tmp_path: Path) -> None:
    found = read_scored_set([write(tmp_path / "set.jsonl", A, B)])
    assert (found.name, found.proxy, found.gold, found.without_kl, found.notes) == (
        "set.jsonl", "proxy", "gold", None, (),
    )  # fmt: skip
    assert [prompt.place for prompt in found.prompts] == [f"{tmp_path}/set.jsonl:{line}" for line in (1, 2)]
    assert [prompt.proxy.tolist() for prompt in found.prompts] == [[1, 2], [0, 3]]
    assert [prompt.gold.tolist() for prompt in found.prompts] == [[0.5, 0], [1, 4]]


def test_uneven_prompts_are_said(tmp_path: Path) -> None:
    file = write(tmp_path / "set.jsonl", A, B, scored("c", (1, 1)), scored("d"), scored("e", (1, 1), (2, 2), (3, 3)))
    found = read_scored_set([file])
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
        ([{"doc_id": 5, "cands": []}] * 2, ":2: the same doc_id as {file}:1; put all its candidates on one line"),
        ([A, scored("b", (1, 1), (True, 2))], ":2: candidates[1]: proxy: expected a number, got true"),
        ([A, scored("b", (1, 1), (1, None))], ":2: candidates[1]: gold: expected a number, got null"),
        ([A, scored("b", (1, 1), (1, float("nan")))], ":2: candidates[1]: gold: expected a number, got NaN"),
        ([A, scored("b", (1, 1))], ":1: fewer than two prompts with at least two candidates; no interval"),
    ],
)
def test_bad_records(tmp_path: Path, records: list[Any], message: str) -> None:
    file = write(tmp_path / "set.jsonl", *records)
    with pytest.raises(UserError) as error:
        read_scored_set([file])
    assert str(error.value).startswith(str(file) + message.replace("{file}", str(file)))


def test_what_is_no_source(tmp_path: Path) -> None:
    file = write(tmp_path / "set.jsonl", A, B)
    for paths, message in [
        ([tmp_path / "none"], "none: does not exist; expected a JSONL file or run directories"),
        ([tmp_path, file], "set.jsonl: several sources must all be run directories; give a file alone"),
        ([tmp_path], "no run with scored completions at or below "),
    ]:
        with pytest.raises(UserError, match=message):
            read_scored_set(paths)


def test_only_summaries_are_scored_by_rouge(tmp_path: Path) -> None:
    finished_run(tmp_path / "run", wins=32, proxy=1.0)
    for path in (write(tmp_path / "set.jsonl", A, B), tmp_path / "run"):
        with pytest.raises(UserError, match=f"--rouge rouge2-f1: {path} has a proxy of its own"):
            read_scored_set([path], "rouge2-f1")


def test_a_run_directory_is_read_as_one(tmp_path: Path) -> None:
    finished_run(tmp_path / "run", wins=32, proxy=1.0)
    assert read_scored_set([tmp_path]).proxy == "reward model"


def test_human_scores_of_summaries() -> None:
    found = read_scored_set([EXCERPT])
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

"""Every raw form, read by us and, independently, by `datasets` and by pandas: the same records, in the same order.

What each form means is written here once more, in a few lines over what the other libraries return; what we leave out
is counted there, too.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import hub_data_sets
import pandas
import pytest
import raw_forms
from datasets import load_dataset
from raw_forms import Row

from overopt.tasks.formats import read_examples
from overopt.types import Dropped

COUNT = 120
Record = tuple[str, ...]
"""The prompt, and the completions, best first."""


def tldr_prompt(info: Mapping[str, Any]) -> str:
    return "SUBREDDIT: r/{subreddit}\n\nTITLE: {title}\n\nPOST: {post}\n\nTL;DR:".format(**info)


def any_prompt(info: Mapping[str, Any]) -> str:
    article = info.get("article")
    return tldr_prompt(info) if not isinstance(article, str) else f"Article:\n{article}\n\nTL;DR:"


def comparison(row: Row) -> Record | None:
    texts = [summary["text"] for summary in row["summaries"]]
    pair = (texts[row["choice"]], texts[1 - row["choice"]])
    return None if pair[0] == pair[1] else (any_prompt(row["info"]), *pair)


def rated(row: Row) -> Record | None:
    summary = row["summary"]
    return None if pandas.isna(summary["axes"]["overall"]) else (any_prompt(row["info"]), summary["text"])


def transcript(row: Row) -> Record | None:
    parts = [text.rsplit("\n\nAssistant:", 1) for text in (row["chosen"], row["rejected"])]
    if parts[0][0] != parts[1][0] or "\n\nHuman:" in parts[1][1]:
        return None
    return (f"{parts[0][0]}\n\nAssistant:", *(answer.removeprefix(" ") for _, answer in parts))


def ranked(row: Row) -> list[tuple[float, str]] | None:
    scores = []
    for completion in row["completions"]:
        given = [aspect["Rating"] for aspect in completion["annotations"].values()]
        if "N/A" in given:
            return None
        scores.append((sum(map(int, given)) / 4, completion["response"]))
    return scores


def ranking(row: Row) -> Record | None:
    scores = ranked(row)
    if scores is None or len({score for score, _ in scores}) < 4:
        return None
    return (row["instruction"], *(text for _, text in sorted(scores, reverse=True)))


def extremes(row: Row) -> Record | None:
    scores = ranked(row)
    if scores is None or len({score for score, _ in scores}) == 1:
        return None
    best, worst = max(score for score, _ in scores), min(score for score, _ in scores)
    return (row["instruction"], *(next(text for score, text in scores if score == found) for found in (best, worst)))


def conversations(row: Row) -> Record | None:
    if row["score_chosen"] == row["score_rejected"]:
        return None
    return (row["chosen"][0]["content"], row["chosen"][1]["content"], row["rejected"][1]["content"])


def spoken(row: Row) -> Record:
    *before, last = row["messages"]
    lone = len(before) == 1
    text = before[0]["content"] if lone else "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in before)
    return (text, last["content"])


FORMS: dict[str, tuple[Callable[[int], list[Row]], str, Callable[[Row], Record | None]]] = {
    "tldr": (raw_forms.tldr_sft, "auto", lambda row: (tldr_prompt(row), row["summary"])),
    "comparisons": (raw_forms.comparisons, "auto", comparison),
    "axis_evals": (raw_forms.axis_evals, "auto", rated),
    "hh": (raw_forms.hh, "auto", transcript),
    "ultrafeedback": (raw_forms.ultrafeedback, "auto", ranking),
    "ultrafeedback-pairs": (raw_forms.ultrafeedback, "ultrafeedback_pairs", extremes),
    "ultrafeedback-binarized": (raw_forms.ultrafeedback_binarized, "auto", conversations),
    "prompt-completion": (raw_forms.prompt_completion, "auto", lambda row: (row["prompt"], row["completion"])),
    "messages": (raw_forms.messages, "auto", spoken),
    "implicit-prompts": (raw_forms.implicit_prompts, "auto", conversations),
    "unpaired": (
        raw_forms.unpaired,
        "auto",
        lambda row: (row["prompt"][0]["content"], row["completion"][0]["content"], str(bool(row["label"]))),
    ),
}


@pytest.fixture(params=["jsonl", "json", "jsonl.gz", "parquet"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def write(rows: Sequence[Row], path: Path) -> Path:
    """The rows in a file whose kind its name says."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".parquet":
        datasets.Dataset.from_list([*rows]).to_parquet(str(path))
    else:
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def by_datasets(path: Path, cache: Path) -> list[Row]:
    builder = "parquet" if path.suffix == ".parquet" else "json"
    return [*load_dataset(builder, data_files=str(path), split="train", cache_dir=str(cache))]


def by_pandas(path: Path) -> list[Row]:
    if path.suffix == ".parquet":
        return json.loads(pandas.read_parquet(path).to_json(orient="records"))
    return pandas.read_json(path, lines=True, dtype=False).to_dict("records")


@pytest.mark.parametrize("name", FORMS)
def test_the_same_records_as_other_libraries_read(name: str, kind: str, tmp_path: Path) -> None:
    make, form, meaning = FORMS[name]
    rows = make(COUNT)
    path = write(rows, tmp_path / f"{name}.{kind}")
    dropped = Dropped()
    examples = read_examples(path, form, dropped)  # type: ignore[arg-type]
    ours = [(e.prompt, *(e.ranked or (e.reference,))) for e in examples]
    if name == "unpaired":
        ours = [(*record, str(example.desirable)) for record, example in zip(ours, examples, strict=True)]
    for theirs in (by_datasets(path, tmp_path / "cache"), by_pandas(path)):
        assert len(theirs) == len(rows)
        expected = [record for row in theirs if (record := meaning(row)) is not None]
        assert ours[:3] == expected[:3]
        assert ours == expected
        assert sum(dropped.reasons.values()) == len(rows) - len(expected)
    assert (len(ours) < len(rows)) == (name not in ("tldr", "prompt-completion", "messages", "unpaired"))


class Bytes:
    """A tokenizer whose tokens are bytes."""

    def encode(self, text: str) -> list[int]:
        return [*text.encode()]


@pytest.mark.parametrize("which", ["whole", "prepared columns only"])
@pytest.mark.parametrize("make", [hub_data_sets.tldr_sft, hub_data_sets.tldr_comparisons])
def test_what_the_recipe_prepared_is_what_was_published(make: Any, which: str, tmp_path: Path) -> None:
    make(tmp_path / "repository", Bytes(), {"train": 40, "validation": 40})
    for split in ("train", "validation"):
        shards = [*map(str, sorted((tmp_path / "repository" / "data").glob(f"{split}-*.parquet")))]
        table = load_dataset("parquet", data_files=shards, split="train", cache_dir=str(tmp_path / "cache"))
        if which != "whole":
            published = ("id", "subreddit", "title", "post", "summary", "info", "summaries", "choice", "extra")
            table = table.remove_columns([name for name in published if name in table.column_names])
        table.to_parquet(str(tmp_path / f"{split}.parquet"))
        dropped = Dropped()
        examples = read_examples(tmp_path / f"{split}.parquet", "auto", dropped)
        for row, example in zip(table, examples, strict=True):
            names = ("reference_response",) if "reference_response" in row else ("chosen", "rejected")
            texts = [row[name].removesuffix("<|endoftext|>").strip() for name in names]
            assert example.prompt == row["query"].strip()
            assert [text.strip() for text in example.ranked or (example.reference or "",)] == texts
        assert len(examples) == 40 and not dropped.reasons
        assert not any("token" in column for example in examples for column in example.columns)

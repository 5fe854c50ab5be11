"""ROUGE against numbers worked by hand, and what a summary's file must hold."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from overopt.analysis.realsumm import ROUGES, plain, prompt_of, rouge_scorer, title_of
from overopt.errors import UserError

RECORD: dict[str, Any] = {
    "doc_id": 1,
    "ref": "<t> the cat sat . </t>",
    "cands": [
        {"system": "a", "summary": "<t> the cat sat </t>", "litepyramid_recall": 0.5},
        {"system": "b", "summary": "a dog", "litepyramid_recall": 1},
    ],
}


def test_sentences_are_lines_and_their_marks_no_words() -> None:
    assert plain("<t> one . </t> <t> two </t>\n") == "one .\ntwo"
    assert plain("no marks") == "no marks"
    assert plain("<t></t>") == ""


def test_rouge_by_hand() -> None:
    reference, summary = "the cats sat down", "the cat sat"
    # stems agree: 3 of 4 words and 2 of 3 bigrams of the reference, all of the summary
    scores = {name: rouge_scorer(name)(reference, summary) for name in ROUGES}
    assert len(scores) == 9
    assert scores["rouge1-recall"] == pytest.approx(3 / 4)
    assert scores["rouge1-precision"] == 1
    assert scores["rouge1-f1"] == pytest.approx(6 / 7)
    assert scores["rouge2-recall"] == pytest.approx(2 / 3)
    assert scores["rouge2-f1"] == pytest.approx(4 / 5)
    assert scores["rougeLsum-recall"] == pytest.approx(3 / 4)


def test_a_documents_summaries() -> None:
    prompt = prompt_of(RECORD, "f:1", rouge_scorer())
    assert prompt.place == "f:1"
    assert prompt.proxy.tolist() == [1, 0]
    assert prompt.gold.tolist() == [0.5, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ref": None}, "f:1: ref: expected a text, got null"),
        ({"cands": {}}, "f:1: cands: expected a list, got {}"),
        ({"cands": [{"summary": "s"}]}, "f:1: cands[0]: has no field 'litepyramid_recall'; it has 'summary'"),
        ({"cands": [{"litepyramid_recall": 1}]}, "f:1: cands[0]: has no field 'summary'; it has 'litepyramid_recall'"),
    ],
)
def test_bad_records(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        prompt_of(RECORD | change, "f:1", lambda reference, summary: 0.0)
    assert str(error.value) == message


def test_a_missing_package_and_an_unknown_score(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="--rouge bleu: no such score; choose rouge1-f1, rouge1-recall"):
        rouge_scorer("bleu")
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    with pytest.raises(UserError, match=r"needs the package rouge-score: pip install 'overopt\[rouge\]'. Or give"):
        rouge_scorer()


def test_titles() -> None:
    assert [title_of(name) for name in ROUGES[3:6]] == ["ROUGE-2 F1", "ROUGE-2 recall", "ROUGE-2 precision"]

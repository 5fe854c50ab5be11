"""Reads summaries by several systems with human scores, in the form of REALSumm; their proxy is ROUGE, computed here.

A line is {"doc_id", "ref", "cands": [{"system", "summary", "litepyramid_recall"}]} (Bhandari et al. 2020).
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from overopt.analysis.best_of_n import NOT_DRAWS, ScoredPrompt
from overopt.analysis.jsonl import JsonObject, field, number, objects
from overopt.errors import UserError

ROUGES = tuple(f"{kind}-{part}" for kind in ("rouge1", "rouge2", "rougeLsum") for part in ("f1", "recall", "precision"))
DEFAULT_ROUGE = "rouge2-f1"
GOLD = "human score (LitePyramid recall)"
WITHOUT_KL = f"a document's candidates come from different systems and {NOT_DRAWS}"

Scorer = Callable[[str, str], float]


def prompt_of(record: JsonObject, place: str, rouge: Scorer) -> ScoredPrompt:
    """One document's summaries, scored by ROUGE against its reference and by people."""
    reference = plain(field(record, "ref", str, place))
    candidates = objects(record, "cands", place)
    gold = [number(candidate, "litepyramid_recall", where) for where, candidate in candidates]
    proxy = [rouge(reference, plain(field(candidate, "summary", str, where))) for where, candidate in candidates]
    return ScoredPrompt(place, np.array(proxy), np.array(gold))


def rouge_scorer(name: str = DEFAULT_ROUGE) -> Scorer:
    """(reference, summary) -> score by the package rouge-score, with Porter stems as is usual for news."""
    if name not in ROUGES:
        raise UserError(f"--rouge {name}: no such score; choose {', '.join(ROUGES)}")
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise UserError(
            "scoring summaries needs the package rouge-score: pip install 'overopt[rouge]'. "
            'Or give scores of your own: {"prompt", "candidates": [{"text", "proxy", "gold"}]} a line'
        ) from None
    rouge, part = name.split("-")
    scorer = RougeScorer([rouge], use_stemmer=True)
    attribute = "fmeasure" if part == "f1" else part
    return lambda reference, summary: float(getattr(scorer.score(reference, summary)[rouge], attribute))


def title_of(rouge: str) -> str:
    """The usual spelling: ROUGE-2 F1 for `rouge2-f1`."""
    return (
        rouge.replace("rouge", "ROUGE-").replace("-f1", " F1").replace("-recall", " recall").replace("-prec", " prec")
    )


def plain(summary: str) -> str:
    """The sentences, one per line, without the tags <t> and </t>, which ROUGE would count as words."""
    sentences = (sentence.strip() for sentence in re.split(r"</?t>", summary))
    return "\n".join(sentence for sentence in sentences if sentence)

"""Reads scored candidates from a JSONL of prompts, a file in the form of REALSumm, or run directories."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from overopt.analysis.best_of_n import ScoredPrompt, ScoredSet
from overopt.analysis.jsonl import JsonObject, field, number, objects, read_records
from overopt.analysis.realsumm import DEFAULT_ROUGE, GOLD, WITHOUT_KL, prompt_of, rouge_scorer, title_of
from overopt.analysis.scored_runs import scored_set_of_runs
from overopt.errors import UserError

FORMS = (
    '{"prompt", "candidates": [{"text", "proxy", "gold"}]} or, in REALSumm\'s form, '
    '{"doc_id", "ref", "cands": [{"system", "summary", "litepyramid_recall"}]}'
)


def read_scored_set(paths: Sequence[Path], rouge: str | None = None) -> ScoredSet:
    """The candidates of one file or of run directories. `rouge` names the proxy of summaries, which have no other."""
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: does not exist; expected a JSONL file or run directories")
        if len(paths) > 1 and not path.is_dir():
            raise UserError(f"{path}: several sources must all be run directories; give a file alone")
    found = scored_set_of_runs(paths) if paths[0].is_dir() else _of_file(paths[0], rouge or DEFAULT_ROUGE)
    if rouge is not None and found.gold != GOLD:
        raise UserError(f"--rouge {rouge}: {paths[0]} has a proxy of its own; leave --rouge out")
    return found


def _of_file(path: Path, rouge: str) -> ScoredSet:
    """The candidates of a file whose first record decides its form."""
    records = read_records(path)
    place, first = next(records)
    rest = [(place, first), *records]
    if "cands" in first:
        _refuse_repeats(rest, "doc_id")
        scorer = rouge_scorer(rouge)
        prompts = tuple(prompt_of(record, place, scorer) for place, record in rest)
        return _comparable(ScoredSet(path.name, prompts, title_of(rouge), GOLD, WITHOUT_KL))
    if "candidates" not in first:
        raise UserError(f"{place}: has neither candidates nor cands; expected {FORMS}")
    _refuse_repeats(rest, "prompt")
    return _comparable(ScoredSet(path.name, tuple(_prompt_of(record, place) for place, record in rest)))


def _refuse_repeats(records: Iterable[tuple[str, JsonObject]], name: str) -> None:
    """Refuse a prompt that stands on two lines: intervals resample the lines as independent."""
    places: dict[str, str] = {}
    for place, record in records:
        known = places.setdefault(json.dumps(field(record, name, object, place), sort_keys=True), place)
        if known != place:
            raise UserError(f"{place}: the same {name} as {known}; put all its candidates on one line")


def _prompt_of(record: JsonObject, place: str) -> ScoredPrompt:
    candidates = objects(record, "candidates", place)
    proxy, gold = ([number(c, name, where) for where, c in candidates] for name in ("proxy", "gold"))
    return ScoredPrompt(place, np.array(proxy), np.array(gold))


def _comparable(scored: ScoredSet) -> ScoredSet:
    """The set without prompts of fewer than two candidates, with a note if the prompts differ in their number."""
    prompts = tuple(prompt for prompt in scored.prompts if len(prompt.proxy) > 1)
    if len(prompts) < 2:
        raise UserError(f"{scored.prompts[0].place}: fewer than two prompts with at least two candidates; no interval")
    notes = []
    if lone := len(scored.prompts) - len(prompts):
        notes.append(f"left out: {lone} prompt{'s' * (lone > 1)} with fewer than two candidates")
    sizes = [len(prompt.proxy) for prompt in prompts]
    if min(sizes) < max(sizes):
        fewest = prompts[sizes.index(min(sizes))]
        notes.append(f"n ends at {min(sizes)}, the candidates at {fewest.place}; others have up to {max(sizes)}")
    return replace(scored, prompts=prompts, notes=tuple(notes))

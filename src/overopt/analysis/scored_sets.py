"""Scored candidates from a JSONL of prompts, a REALSumm-style file, or a run that stored several samples a prompt."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from overopt.analysis.best_of_n import ScoredPrompt, ScoredSet
from overopt.analysis.jsonl import Record, field, number, objects, read_records
from overopt.analysis.realsumm import DEFAULT_ROUGE, GOLD, WITHOUT_KL, prompt_of, rouge_scorer, title_of
from overopt.errors import UserError
from overopt.records import Run, load_run

FORMS = (
    '{"prompt", "candidates": [{"text", "proxy", "gold"}]} or, in REALSumm\'s form, '
    '{"doc_id", "ref", "cands": [{"system", "summary", "litepyramid_recall"}]}'
)


def read_scored_set(path: Path, rouge: str | None = None) -> ScoredSet:
    """The candidates of a file or of a run directory. `rouge` names the proxy of summaries, which carry no other."""
    if not path.exists():
        raise UserError(f"{path}: does not exist; expected a JSONL file or a run directory")
    found = _of_run(load_run(path)) if path.is_dir() else _of_file(path, rouge or DEFAULT_ROUGE)
    if rouge is not None and found.without_kl is None:
        raise UserError(f"--rouge {rouge}: {path} has a proxy of its own; leave --rouge out")
    return _comparable(found)


def _of_file(path: Path, rouge: str) -> ScoredSet:
    """The first record tells the form of all."""
    records = read_records(path)
    place, first = next(records)
    rest = [(place, first), *records]
    if "cands" in first:
        scorer = rouge_scorer(rouge)
        prompts = tuple(prompt_of(record, place, scorer) for place, record in rest)
        return ScoredSet(path.name, prompts, title_of(rouge), GOLD, WITHOUT_KL)
    if "candidates" not in first:
        raise UserError(f"{place}: has neither candidates nor cands; expected {FORMS}")
    places: dict[str, str] = {}
    return ScoredSet(path.name, tuple(_prompt_of(record, place, places) for place, record in rest))


def _prompt_of(record: Record, place: str, places: dict[str, str]) -> ScoredPrompt:
    """A prompt, text or messages, that no line before had: the prompts are resampled as if they were independent."""
    prompt = json.dumps(field(record, "prompt", object, place))
    if prompt in places:
        raise UserError(f"{place}: the same prompt as {places[prompt]}; put all its candidates on one line")
    places[prompt] = place
    candidates = objects(record, "candidates", place)
    proxy, gold = ([number(c, name, where) for where, c in candidates] for name in ("proxy", "gold"))
    return ScoredPrompt(place, np.array(proxy), np.array(gold))


def _of_run(run: Run) -> ScoredSet:
    """The samples of the first step that stored several for a prompt: those of other steps are of other policies."""
    steps = run.sample_steps()
    for step in steps:
        evaluations = _several_samples(run, step)
        if evaluations:
            (split, judge), prompts = max(evaluations.items(), key=lambda item: len(item[1]))
            note = f"step {step}, split {split}, judge {judge}: the draws of one checkpoint"
            return ScoredSet(run.name, tuple(prompts), notes=(note,))
    stored = "one sample a prompt (or none with both scores) at each step" if steps else "no samples"
    raise UserError(
        f"{run.path}: has {stored}. Best-of-n needs several draws of one policy for "
        "each prompt, with proxy and gold (completions of different checkpoints are draws of different policies): "
        f"sample one checkpoint several times, score that, and give a JSONL of {FORMS}"
    )


def _several_samples(run: Run, step: int) -> dict[tuple[str, str], list[ScoredPrompt]]:
    """Prompts with several samples that have both scores, by split and judge."""
    names = ("split", "judge", "prompt_id", "proxy", "gold")
    try:
        columns = run.sample_columns(step, names)
    except (OSError, ValueError) as error:  # pyarrow's own errors are kinds of these
        raise UserError(f"{run.path}: the samples of step {step} cannot be read ({error})") from None
    rows = zip(*(columns.get(name, []) for name in names), strict=False)
    scores: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for split, judge, prompt, proxy, gold in rows:
        if proxy is not None and gold is not None:
            scores[split, judge, prompt].append((proxy, gold))
    found: dict[tuple[str, str], list[ScoredPrompt]] = defaultdict(list)
    for (split, judge, prompt), pairs in scores.items():
        if len(pairs) > 1:
            proxies, golds = np.array(pairs).T
            found[split, judge].append(ScoredPrompt(f"{run.path}: {prompt}", proxies, golds))
    return found


def _comparable(scored: ScoredSet) -> ScoredSet:
    """Without prompts that have nothing to choose from, and with a note where n is bounded by a few of them."""
    prompts = tuple(prompt for prompt in scored.prompts if len(prompt.proxy) > 1)
    if len(prompts) < 2:
        raise UserError(f"{scored.prompts[0].place}: fewer than two prompts with at least two candidates; no interval")
    notes = list(scored.notes)
    if lone := len(scored.prompts) - len(prompts):
        notes.append(f"left out: {lone} prompt{'s' * (lone > 1)} with fewer than two candidates")
    fewest, most = (pick(prompts, key=lambda prompt: len(prompt.proxy)) for pick in (min, max))
    if len(fewest.proxy) < len(most.proxy):
        notes.append(
            f"n ends at {len(fewest.proxy)}, the candidates at {fewest.place}; others have up to {len(most.proxy)}"
        )
    return ScoredSet(scored.name, prompts, scored.proxy, scored.gold, scored.without_kl, tuple(notes))

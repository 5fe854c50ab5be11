"""Judges asked about pairs that humans have labelled: how well they agree with the labels and with one another."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from overopt.errors import UserError
from overopt.evaluation.judges.base import (
    Comparison,
    Identity,
    Judgement,
    JudgeProtocol,
    Situation,
    judgements,
    prefers_first,
)
from overopt.records.atomic import replace_json
from overopt.statistics import (
    Estimate,
    Floats,
    agreement,
    kappa,
    length_bias,
    length_slope,
    mean_outcome,
    order_consistency,
    position_bias,
)
from overopt.tasks.base import PromptStyle, strip_joint
from overopt.tasks.formats import Example, paired, read_examples
from overopt.types import Completion, Dropped, PromptRecord

Document = dict[str, Any]
"""What `agreement.json` holds."""
FILE = "agreement.json"


@dataclass(frozen=True)
class LabelledPairs:
    """Pairs and which completion of each humans prefer; what of the file was left out."""

    comparisons: tuple[Comparison, ...]
    """`ours` stands for the pair's first completion, which a coin has drawn."""
    human: Floats
    """1 if humans prefer the first completion, else 0."""
    left_out: Dropped
    prompt_style: PromptStyle

    @property
    def longer_by(self) -> Floats:
        """The first completion's length less the second's, in characters, without white space around them."""
        lengths = [len(c.ours.text.strip()) - len(c.reference.text.strip()) for c in self.comparisons]
        return np.array(lengths, dtype=float)


@dataclass(frozen=True)
class Answers:
    """What a judge says of the pairs, each about its first completion."""

    identity: Identity
    outcomes: Floats
    """1, 1/2 or 0 for each pair, NaN where a reply was invalid."""
    first: Floats
    """For each pair and order: 1 if the reply prefers the text that stands first, 1/2 or 0; NaN where there is none."""
    seconds: float | None
    """Per pair, of those not answered from the cache; None if all were."""


def judge_agreement(
    path: Path,
    judges: Sequence[JudgeProtocol],
    situation: Situation | None = None,
    limit: int | None = None,
    out: Path | None = None,
) -> Document:
    """Ask judges about the pairs of a file and return their agreement; `out`: the folder for `agreement.json`.

    UserError: the file has no labelled pairs, two judges are the same, or a judge cannot answer.
    """
    if out is not None and out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; name a folder for {FILE} and its page")
    pairs = read_labelled_pairs(path, limit)
    situation = replace(situation or Situation(), prompt_style=pairs.prompt_style)
    refuse_equals([judge.identity(situation) for judge in judges])
    answers = [ask(judge, pairs, situation) for judge in judges]
    document = {"source": str(path), "date": _now(), **compare(pairs, answers)}
    if out is not None:
        replace_json(out / FILE, document)
    return document


def read_labelled_pairs(path: Path, limit: int | None = None) -> LabelledPairs:
    """Read at most `limit` pairs of a file in LLMBar's or any other format of pairs; the chosen one is the label.

    Which completion is the pair's first is decided by a hash of the texts, so it is the same in every call.
    """
    left_out = Dropped()
    examples, alone = paired(read_examples(path, "auto", left_out, limit))
    if alone:
        left_out.add("no completion of the other label to pair with", alone)
    chat = any(example.chat_only for example in examples)
    style: PromptStyle = "chat_template" if chat else "raw"
    for example in examples:
        if len(example.ranked) != 2:
            found = f"{len(example.ranked)} ranked completions" if example.ranked else "no label"
            raise UserError(
                f"{example.place}: {found}; every record needs two completions of a prompt and which of them humans "
                'prefer: {"prompt", "chosen", "rejected"}, or LLMBar\'s {"input", "output_1", "output_2", "label"}'
            )
    chosen_first = [_heads(example) for example in examples]
    comparisons = [_comparison(example, first, style) for example, first in zip(examples, chosen_first, strict=True)]
    return LabelledPairs(tuple(comparisons), np.array(chosen_first, dtype=float), left_out, style)


def _heads(example: Example) -> bool:
    return sha256(f"first\x1e{_identity(example)}".encode()).digest()[0] % 2 == 0


def _identity(example: Example) -> str:
    return sha256("\x1f".join([example.prompt, *example.ranked]).encode()).hexdigest()


def _comparison(example: Example, chosen_first: bool, style: PromptStyle) -> Comparison:
    chosen, rejected = (Completion(strip_joint(text, example.prompt, style)) for text in example.ranked)
    key = _identity(example)[:16]
    meta = {**example.columns, **({} if example.messages is None else {"messages": list(example.messages)})}
    record = PromptRecord(key, example.prompt, None, meta, example.place)
    return Comparison(record, *((chosen, rejected) if chosen_first else (rejected, chosen)), key=key)


def refuse_equals(identities: Sequence[Identity]) -> None:
    """UserError if two judges bear the same name: their rows could not be told apart."""
    names = [identity.id for identity in identities]
    for name in names:
        if names.count(name) > 1:
            same = len({identity.hash for identity in identities if identity.id == name}) == 1
            why = "the same judge twice" if same else "judges of one name with different settings"
            raise UserError(f"--judge: {name} is named {names.count(name)} times ({why}); give each judge once")


def ask(judge: JudgeProtocol, pairs: LabelledPairs, situation: Situation) -> Answers:
    """Return the judge's answers, timed."""
    start, began = time.monotonic(), _now()
    judged = judgements(judge, pairs.comparisons, situation)
    seconds = time.monotonic() - start
    fresh = _fresh(judged, began)
    return Answers(
        judge.identity(situation),
        np.array([_outcome(judgement) for judgement in judged]),
        np.array([_first(judgement) for judgement in judged]),
        seconds / fresh if fresh else None,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _fresh(judged: Sequence[Judgement], began: str) -> int:
    """How many judgements were made now: a cached reply keeps its date, and a judge without replies has no cache."""
    replies = [reply for judgement in judged for reply in judgement.replies]
    if not replies:
        return len(judged)
    start = datetime.fromisoformat(began)
    return sum(any(datetime.fromisoformat(r.date) >= start for r in judgement.replies) for judgement in judged)


def _outcome(judgement: Judgement) -> float:
    """NaN for a pair with an invalid reply, also where the judge counts it as lost: neither text is "ours" here."""
    if judgement.outcome is None or judgement.invalid:
        return math.nan
    return judgement.outcome


def _first(judgement: Judgement) -> list[float]:
    """A column for each order; none where several judges have answered, whose replies say little together."""
    return prefers_first(() if judgement.members else judgement.replies)


# --- From answers to numbers


def compare(pairs: LabelledPairs, answers: Sequence[Answers]) -> Document:
    """Return a row for each judge, one for each two judges, and how each pair came out."""
    longer_by = pairs.longer_by
    longer = longer_by != 0
    humans = mean_outcome(np.where(longer_by > 0, pairs.human, 1 - pairs.human)[longer])
    rights = [1 - np.abs(one.outcomes - pairs.human) for one in answers]
    return {
        "n": len(pairs.comparisons),
        "left_out": dict(pairs.left_out.reasons),
        "humans_prefer_longer": _plain(humans),
        "judges": [_row(pairs, one) for one in answers],
        "between": [_between(one, other) for one, other in combinations(answers, 2)],
        "pairs": [
            {"place": c.record.place, "right": [None if math.isnan(right[i]) else float(right[i]) for right in rights]}
            for i, c in enumerate(pairs.comparisons)
        ],
    }


def _row(pairs: LabelledPairs, answers: Answers) -> Document:
    valid = np.isfinite(answers.outcomes)
    outcomes, human, longer_by = answers.outcomes[valid], pairs.human[valid], pairs.longer_by[valid]
    identity = answers.identity
    row = {
        "judge": identity.id,
        "judge_hash": identity.hash,
        "judge_prompt": identity.prompt,
        "judge_prompt_hash": identity.prompt_hash,
        "n": int(valid.sum()),
        "invalid": int((~valid).sum()),
        "ties": int((outcomes == 0.5).sum()),
        "accuracy": _plain(agreement(outcomes, human)),
        "kappa": _plain(kappa(outcomes, human)),
        "position_bias": _plain(position_bias(answers.first)),
        "order_consistency": _plain(order_consistency(answers.first)),
        "length_bias": _plain(length_bias(outcomes, human, longer_by)),
        "length_slope": _plain(length_slope(outcomes, human, longer_by)),
        "seconds_per_judgement": answers.seconds,
    }
    return {name: value for name, value in row.items() if value not in (None, "")}


def _between(one: Answers, other: Answers) -> Document:
    both = np.isfinite(one.outcomes) & np.isfinite(other.outcomes)
    a, b = one.outcomes[both], other.outcomes[both]
    found = {"agreement": _plain(agreement(a, b)), "kappa": _plain(kappa(a, b))}
    names = {"judges": [one.identity.id, other.identity.id]}
    return names | {name: value for name, value in found.items() if value is not None}


def _plain(estimate: Estimate | None) -> dict[str, float] | None:
    return None if estimate is None else estimate._asdict()

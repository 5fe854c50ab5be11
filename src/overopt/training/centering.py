"""The zero of a reward model's scores: as its folder records it, measured on demonstrations, or as the head gives it.

A shift cancels in advantages, except where a missing EOS replaces the score by a constant. Reward models on the Hub
that are classifiers of transformers record no mean, even where their authors subtracted one.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

from overopt.config import Choice, block
from overopt.engine.memory import TokenBudget
from overopt.engine.packing import Tree
from overopt.errors import UserError
from overopt.models.cutting import encode_cut
from overopt.models.scorer import Scorer
from overopt.models.text import Codec
from overopt.training.data import Limits
from overopt.training.fields import Count
from overopt.types import Completion, Dropped, PromptRecord


@block
class Recorded:
    """Scores minus the mean, or bias, that the reward model's folder records, if it records one."""


@block
class Demonstrations:
    """The task's demonstrations score 0 on average, as in the N+ recipe; measured before the first step."""

    records: Count = 1000
    """How many: those with the least hashes, the same in every run. The mean's standard error is SD/sqrt(records)."""


@block
class Uncentered:
    """Scores as the head gives them, as TRL reads them."""

    config_name = "none"


Centering = Annotated[Recorded | Demonstrations | Uncentered, Choice()]


def center(
    centering: Recorded | Demonstrations | Uncentered,
    scorer: Scorer,
    demonstrations: Callable[[], Sequence[PromptRecord]],
    codec: Codec,
    limits: Limits,
    budget: TokenBudget,
    known: Mapping[str, Any],
) -> dict[str, float]:
    """Set the mean of the reward model's scores; returns what `run.json` is to say of it, empty for `recorded`.

    `known` is what it says already, if the run began before: then nothing is measured again.
    """
    model = scorer.reward_model
    if isinstance(centering, Recorded):
        return {}
    if "reward_mean" in known:
        model.normalize(known["reward_mean"], known["reward_scale"])
    elif isinstance(centering, Uncentered):
        model.mean, model.scale, model.normalized = 0.0, 1.0, False
    else:
        mean = _mean(scorer, demonstrations(), centering.records, codec, limits, budget)
        model.normalize(model.mean + model.scale * mean, model.scale)
    return {"reward_mean": model.mean, "reward_scale": model.scale}


def _mean(
    scorer: Scorer,
    demonstrations: Sequence[PromptRecord],
    count: int,
    codec: Codec,
    limits: Limits,
    budget: TokenBudget,
) -> float:
    """The mean of the demonstrations' scores, as they are before."""
    chosen = heapq.nsmallest(count, (r for r in demonstrations if r.reference is not None), key=_hash)
    texts = [[Completion(record.reference or "")] for record in chosen]
    rows = [
        (record, text, Tree(prompt, completions))
        for (record, prompt, completions), (text,) in zip(
            encode_cut(codec, chosen, texts, limits.prompt, Dropped()), texts, strict=True
        )
        if 0 < len(prompt) <= limits.prompt and 0 < len(completions[0]) <= limits.completion
    ]
    if not rows:
        raise UserError(
            f"centering: demonstrations: none of the task's {len(demonstrations)} demonstrations fits "
            "max_prompt_tokens and max_completion_tokens; use recorded, or none"
        )
    records, completions, trees = zip(*rows, strict=True)
    scores = budget.without_gradient(partial(scorer.score, records, completions, trees))
    return float(scores.double().mean())


def _hash(record: PromptRecord) -> bytes:
    return hashlib.sha256(record.prompt.encode("utf-8", "surrogatepass")).digest()

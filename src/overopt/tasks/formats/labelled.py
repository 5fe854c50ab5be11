"""KTO's format: one completion, with a `label` (or `kto_tag`) that says whether it is desirable.

Desirable completions are demonstrations. If a prompt has both kinds, they become pairs; there are no losses of single
labelled completions here. Completions that are rated one by one become pairs, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from overopt.errors import UserError
from overopt.tasks.formats.example import Example, Row

NAMES = ("label", "kto_tag")
GOOD, BAD = (
    ("true", "1", "1.0", "desirable", "good", "yes"),
    ("false", "0", "0.0", "-1", "-1.0", "undesirable", "bad", "no"),
)
"""Texts and numbers that mean true and false."""


def label(row: Row) -> bool | None:
    """The label of a row's one completion; None if it has none, or a field of this name that means something else.

    A number or a text is a label only in a row with `prompt` and `completion`; elsewhere it may be a class. UserError
    for a `kto_tag` with another value, since a bad completion might be learned.
    """
    name, value = next(((name, row[name]) for name in NAMES if name in row), ("", None))
    if isinstance(value, bool):
        return value
    if not {"prompt", "completion"} <= set(row):
        return None
    spelled = str(value).strip().lower()
    if name == "kto_tag" and spelled not in (*GOOD, *BAD):
        raise UserError(f"field 'kto_tag' must be true or false, got {value!r}")
    return True if spelled in GOOD else False if spelled in BAD else None


def paired(examples: Sequence[Example]) -> tuple[list[Example], int]:
    """The examples with labelled and rated completions paired, and how many of these found no partner.

    The n-th desirable completion of a prompt is paired with its n-th undesirable one; of rated ones the n-th best with
    the n-th worst, if their ratings differ. Other examples are unchanged.
    """
    good, bad = _by_prompt(examples, True), _by_prompt(examples, False)
    pairs, left_rated = _rated_pairs(examples)
    for example in examples:
        if example.rating is not None:
            continue
        if example.desirable is None:
            pairs.append(example)
        elif example.desirable and good[example.prompt] and bad.get(example.prompt):
            first = good[example.prompt].pop(0)
            pairs.append(replace(first, rejected=bad[example.prompt].pop(0).reference))
    left = sum(map(len, good.values())) + sum(map(len, bad.values()))
    return pairs, left + left_rated


def _rated_pairs(examples: Sequence[Example]) -> tuple[list[Example], int]:
    """Pairs of the rated completions of each prompt, and how many of these are in none.

    The rating of a text that several people rated is the mean of theirs.
    """
    ratings: dict[str, dict[str, list[float]]] = {}
    first: dict[tuple[str, str], Example] = {}
    for example in examples:
        if example.rating is not None and example.reference is not None:
            first.setdefault((example.prompt, example.reference), example)
            ratings.setdefault(example.prompt, {}).setdefault(example.reference, []).append(example.rating)
    pairs = []
    for prompt, rated in ratings.items():
        means = {text: sum(given) / len(given) for text, given in rated.items()}
        order = sorted(means, key=lambda text: -means[text])
        for better, worse in zip(order[: len(order) // 2], reversed(order), strict=False):
            if means[better] > means[worse]:
                pairs.append(replace(first[prompt, better], rejected=worse, rating=None))
    return pairs, len(first) - 2 * len(pairs)


def _by_prompt(examples: Sequence[Example], desirable: bool) -> dict[str, list[Example]]:
    found: dict[str, list[Example]] = {}
    for example in examples:
        if example.desirable is desirable and example.reference is not None:
            found.setdefault(example.prompt, []).append(example)
    return found

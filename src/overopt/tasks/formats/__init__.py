"""Readers of data files: `files` yields a file's rows, and each format turns a row into an `Example`.

A format is one module with two functions, and its name in `FORMATS`. `matches(row)` says whether a row has the format,
whose fields `NEEDS` lists; it is asked of a file's first row if the format is `auto`. `read(row, dropped)` returns the
row's example; None if it was left out and counted; UserError if it is malformed. Tools (`extras`) and labels
(`labelled`) may be added to a row of any format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from overopt.errors import UserError
from overopt.hub.layout import TRAIN
from overopt.tasks.formats import (
    conversation,
    generic,
    hh,
    instruction,
    labelled,
    llmbar,
    ranking,
    sharegpt,
    tldr,
    tldr_axes,
    tldr_comparisons,
    ultrafeedback,
    ultrafeedback_pairs,
)
from overopt.tasks.formats.example import Example, Row, field_names
from overopt.tasks.formats.extras import read_extras
from overopt.tasks.formats.files import read_rows
from overopt.tasks.formats.labelled import paired
from overopt.tasks.sources import Source
from overopt.types import Dropped

Format = Literal[
    "auto",
    "generic",
    "hh",
    "llmbar",
    "ranking",
    "messages",
    "sharegpt",
    "alpaca",
    "tldr",
    "tldr_comparisons",
    "tldr_axes",
    "ultrafeedback",
    "ultrafeedback_pairs",
]

FORMATS: dict[str, ModuleType] = {
    "hh": hh,
    "llmbar": llmbar,
    "tldr": tldr,
    "tldr_comparisons": tldr_comparisons,
    "tldr_axes": tldr_axes,
    "ultrafeedback": ultrafeedback,
    "ultrafeedback_pairs": ultrafeedback_pairs,
    "ranking": ranking,
    "sharegpt": sharegpt,
    "messages": conversation,
    "alpaca": instruction,
    "generic": generic,
}
"""In the order in which `auto` tries them."""
SPLIT_BY_ROWS = (tldr_axes, tldr_comparisons)
"""Formats whose records say their split themselves, as `split`, since the files hold several."""


def detect(row: Row) -> ModuleType:
    """The format of a row; UserError, which lists what each needs, if it has none."""
    found = next((form for form in FORMATS.values() if form.matches(row)), None)
    if found is None:
        width = max(map(len, FORMATS))
        needs = [f"  {name:{width}}  {form.NEEDS}" for name, form in FORMATS.items()]
        problem = f"the fields of this record ({field_names(row)}) fit no format; rename them to those of one:"
        raise UserError("\n".join([problem, *needs]))
    return found


LONE_SURROGATE = re.compile("[\ud800-\udfff]")
Normalize = Callable[[str, str], object]
"""From a completion and its prompt to the text that is trained on; equal ones are no pair."""


def unchanged(completion: str, prompt: str) -> str:
    return completion


def identical(example: Example, normalize: Normalize) -> bool:
    """Whether two ranked completions are equal to training; all blank ones are."""
    ranked = [normalize(text, example.prompt) if text.strip() else None for text in example.ranked]
    return len(set(ranked)) < len(ranked)


def _flaw(example: Example, normalize: Normalize) -> str | None:
    """Why an example cannot be used; None if it can."""
    turns = [turn.get("content") for turn in example.messages or ()]
    texts = [example.prompt, example.reference, example.rejected, *example.between, *turns]
    if any(LONE_SURROGATE.search(text) for text in texts if text is not None and not text.isascii()):
        return "text with half a surrogate pair"  # JSON can contain it, but no tokenizer takes it
    if not example.prompt.strip():
        return "empty prompt"
    if identical(example, normalize):
        return "two ranked responses are identical" if example.between else "chosen and rejected are identical"
    return None


def _examples(
    path: Path | Source, form: ModuleType | None, dropped: Dropped, normalize: Normalize
) -> Iterator[Example]:
    split = path.row_split if isinstance(path, Source) else None
    for place, row in read_rows(path, dropped):
        try:
            extras = read_extras(row)
            form = form or detect(row)
            if split is not None and not _is_of_split(row, form, split, dropped):
                continue
            example = form.read(row, dropped)
        except UserError as error:
            raise UserError(f"{place}: {error}") from None
        if example is None:
            continue  # counted by the format
        flaw = _flaw(example, normalize)
        if flaw is None:
            good = None if example.ranked or example.reference is None else labelled.label(row)
            yield replace(example, place=place, desirable=good, columns={**example.columns, **extras}, **_cut(example))
        else:
            dropped.add(flaw)


def _is_of_split(row: Row, form: ModuleType, split: str, dropped: Dropped) -> bool:
    """Whether a row is of a split that no name of a file says; a row that says none itself is of `train`."""
    own = row.get("split") if form in SPLIT_BY_ROWS else TRAIN
    if not isinstance(own, str) or (form not in SPLIT_BY_ROWS and split != TRAIN):
        raise UserError(f"no split {split!r}: neither names of files nor records say one; leave split out")
    if tldr.is_of_split(own, split):
        return True
    dropped.add(f"{own}: another split")
    return False


def _cut(example: Example) -> dict[str, Any]:
    """Which part of the prompt may be cut, if it is a post or an article, in whatever format.

    As a lone user's turn such a prompt is text to continue, too.
    """
    part = tldr.cuttable(example.prompt)
    if part is None or len(example.messages or ()) > 1:
        return {}
    return {"messages": None, "chat_only": False, "cuttable": part}


def iter_examples(
    path: Path | Source, format: Format, dropped: Dropped, limit: int | None = None, normalize: Normalize = unchanged
) -> Iterator[Example]:
    """At most `limit` usable examples of a source, a file, a folder or a pattern; UserError if there is none."""
    form, count = None if format == "auto" else FORMATS[format], 0
    for count, example in enumerate(islice(_examples(path, form, dropped, normalize), limit), start=1):  # noqa: B007
        yield example
    if not count:
        reasons = "; ".join(f"{number} x {reason}" for reason, number in dropped.reasons.items())
        raise UserError(f"{path}: no usable record ({f'dropped: {reasons}' if reasons else 'the file has no records'})")


def read_examples(
    path: Path | Source, format: Format, dropped: Dropped, limit: int | None = None, normalize: Normalize = unchanged
) -> list[Example]:
    """The examples of `iter_examples`, all in memory."""
    return list(iter_examples(path, format, dropped, limit, normalize))


__all__ = ["FORMATS", "Example", "Format", "detect", "identical", "iter_examples", "paired", "read_examples"]

"""Sentences about the records of a data set that were left out, before training and in reports."""

from __future__ import annotations

from collections.abc import Mapping

TOLERATED = 0.02
"""Share of records that may be left out without a notice; `run.json` counts them in any case."""
AS_ASKED = (
    "blank line",
    "repeated prompt",
    "beyond evaluation_prompts",
    "prompt is in the evaluation file",
    "long prompt, cut to fit",
    ": another split",
)
"""Endings of reasons that lose nothing, or that the configuration asks for."""
LIMITS = {"completion longer than": "max_completion_tokens", "prompt longer than": "max_prompt_tokens"}
HELDOUT = "held-out pairs"


def describe_dropped(dropped: Mapping[str, Mapping[str, int]], kept: Mapping[str, int]) -> list[str]:
    """Return a sentence for each data set that lost more than 2 % of its records, or has no held-out pair left.

    `dropped` counts records by data set and reason, `kept` those that are used. Data sets missing from `kept`, as in
    older runs, are skipped.
    """
    return [text for what in kept if (text := _sentence(what, dropped.get(what, {}), kept[what]))]


def _sentence(what: str, reasons: Mapping[str, int], kept: int) -> str:
    lost = {reason: count for reason, count in reasons.items() if not reason.endswith(AS_ASKED)}
    count = sum(lost.values())
    none = what == HELDOUT and kept == 0
    if count <= TOLERATED * (count + kept) and not none:
        return ""
    why = "; ".join(f"{n} x {reason}{_limit(reason)}" for reason, n in lost.items())
    said = f"{what}: {count} of {count + kept} records are left out" + (f" ({why})" if why else "")
    return said + (": no held-out pair is left, and no accuracy on any is recorded" if none else "")


def _limit(reason: str) -> str:
    return next((f", see {field}" for start, field in LIMITS.items() if reason.startswith(start)), "")

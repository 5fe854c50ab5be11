"""What `overopt power` says: standard errors, the chance to find a difference, and the numbers that it takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from overopt.statistics.power import RULE, STUDENT, Comparison, Test
from overopt.text_table import text_table

TESTS: tuple[Test, ...] = (RULE, STUDENT)

HEADER = ("seeds", "prompts", "SE", *("power", "simulated", "false +"), *("t: power", "simulated", "false +"))


def power_rows(found: Comparison, seeds: Sequence[int], prompts: Sequence[int], power: float) -> dict[str, Any]:
    """All numbers as a tree for JSON.

    `cases` for every number of seeds and of prompts; `seeds_needed` and `prompts_needed` with the other one given,
    null where no number is enough; `floors`: what remains with infinitely many prompts.
    """
    return {
        "difference": found.difference,
        "sd_seeds": found.sd_seeds,
        "sd_prompts": found.sd_prompts,
        "power": power,
        "cases": [_case(found, s, n) for s in seeds for n in prompts],
        "seeds_needed": [
            {"prompts": n, **{test: found.seeds_needed(n, power, test) for test in TESTS}} for n in prompts
        ],
        "prompts_needed": [
            {"seeds": s, **{test: found.prompts_needed(s, power, test) for test in TESTS}} for s in seeds
        ],
        "floors": [
            {"seeds": s, "se": found.se(s, math.inf)}
            | {f"smallest_difference_{test}": found.smallest_difference(s, math.inf, power, test) for test in TESTS}
            for s in seeds
        ],
    }


def _case(found: Comparison, seeds: int, prompts: int) -> dict[str, Any]:
    row: dict[str, Any] = {"seeds": seeds, "prompts": prompts, "se": found.se(seeds, prompts)}
    for test in TESTS:
        row[test] = {
            "power": found.power(seeds, prompts, test),
            "simulated": found.simulate(seeds, prompts, test),
            "false_positives": found.false_positives(seeds, prompts, test),
        }
    return row


def power_text(rows: Mapping[str, Any], title: str) -> str:
    """The same for people: a table of the cases, and a line for each number that is needed."""
    cells = [_cells(case) for case in rows["cases"]]
    lines = [title, SPREADS.format(**rows), "", text_table(HEADER, cells, right=HEADER), "", LEGEND, ""]
    lines.append(f"to find this difference with a power of {rows['power']:g}:")
    for row in rows["seeds_needed"]:
        lines.append(f"  {_count(row['prompts'], 'prompt')}: {_needed(row, 'seed')}")
    for row in rows["prompts_needed"]:
        lines.append(f"  {_count(row['seeds'], 'seed')}: {_needed(row, 'prompt')}")
    lines.append("however many prompts are judged:")
    for row in rows["floors"]:
        least = [_least(row[f"smallest_difference_{test}"]) for test in TESTS]
        lines.append(
            f"  {_count(row['seeds'], 'seed')}: standard error {row['se']:.3f} or more; the least difference with that "
            f"power is {least[0]}, by the t-test {least[1]}"
        )
    return "\n".join(lines)


SPREADS = "difference {difference:+.3f}; sd over seeds {sd_seeds:.3f}; sd of one prompt within a seed {sd_prompts:.3f}"

LEGEND = """\
power: the chance that two standard errors, the rule of verdicts, take the difference for real; t: the same of a t-test
at 5 %. false +: the chance to see a difference where there is none. simulated: the power in simulated studies."""


def _cells(case: Mapping[str, Any]) -> tuple[str, ...]:
    shares = [f"{case[test][name]:.2f}" for test in TESTS for name in ("power", "simulated", "false_positives")]
    return str(case["seeds"]), str(case["prompts"]), f"{case['se']:.3f}", *shares


def _needed(row: Mapping[str, Any], what: str) -> str:
    rule, student = row[RULE], row[STUDENT]
    if rule is None:
        return f"no number of {what}s is enough"
    return f"{_count(rule, what)}; by the t-test " + ("no number is enough" if student is None else f"{student:,}")


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _least(difference: float | None) -> str:
    return "above 1" if difference is None else f"{difference:.3f}"

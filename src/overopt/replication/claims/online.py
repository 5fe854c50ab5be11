"""Claims about how online runs end: C10 to C13, C16 to C20, C28, C30 to C33."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from overopt.outcomes import OVER_OPTIMIZED, Label
from overopt.replication.cells import Cell
from overopt.replication.claims.atoms import (
    best_is_below,
    best_is_comparable,
    conservative_or_over,
    early,
    good,
    good_and_stable,
    labeled,
    not_above,
    not_worse,
    over,
    stable,
)
from overopt.replication.claims.claim import Claim, Rule, every, single
from overopt.replication.claims.dynamics import accelerates, rises
from overopt.replication.claims.logic import Finding, Truth, all_of, any_of, at_least, negated, untested
from overopt.replication.claims.study import HIGH, LOW, LOWEST, MAXENT, SIZES, Study, Test, maxent
from overopt.replication.claims.thresholds import Thresholds
from overopt.replication.members import size_of


def over_or_dynamics(row: str) -> Rule:
    """A rule that every coefficient over-optimizes; where no run was judged, that their series look like it."""

    def rule(study: Study) -> Finding:
        raw = study.row(row, labeled=False)
        if not raw or any(cell.problem for cell in raw) or any(run.won for cell in raw for run in cell.runs):
            return study.every(row, over)
        if problem := study.too_small(row):
            return untested(problem)
        t = study.thresholds
        tests = (partial(rises, metric="neg_logp_tok"), accelerates)
        return all_of(test(cell, t) for cell in raw for test in tests).but("dynamics only: the runs were not judged")

    return rule


def _early(*sizes: str) -> Rule:
    def rule(study: Study) -> Finding:
        cells = [cell for size in sizes for cell in study.row(maxent(size, HIGH))]
        if problem := _any_too_small(study, *(maxent(size, HIGH) for size in sizes)):
            return untested(problem)
        t = study.thresholds
        return at_least(t.share.early_runs, (early(cell, t) for cell in cells))

    return rule


def _any_too_small(study: Study, *rows: str) -> str | None:
    return next((problem for row in rows if (problem := study.too_small(row))), None)


def _some_good(study: Study) -> Finding:
    row = maxent("1B", LOW)
    problem = study.too_small(row)
    return untested(problem) if problem else study.some(study.nonzero([row]), good)


def _not_due_to_entropy(study: Study) -> Finding:
    row = maxent("1B", LOW)
    if problem := study.too_small(row):
        return untested(problem)
    return best_is_comparable(study.nonzero([row]), study.cell(row, coef=0.0), study.thresholds)


def _without_entropy_good(study: Study) -> Finding:
    return good(study.cell(maxent("1B", LOW), coef=0.0), study.thresholds)


def _smallest_clip(test: Test) -> Rule:
    def rule(study: Study) -> Finding:
        cells = study.row("CLIP-2.8B")
        if not cells:
            return untested("CLIP-2.8B is not part of the study")
        cell = min(cells, key=lambda cell: float(cell.setting["clip"]))
        return test(cell, study.thresholds)

    return rule


def _a_minent_run_keeps_up(study: Study) -> Finding:
    cells = study.row("MIN-1B")
    if not cells:
        return untested("MIN-1B is not part of the study")
    t, kl = study.thresholds, study.cell("KL-1B")
    both = (all_of((stable(cell, t), not_worse(cell, kl, t))) for cell in cells)
    return any_of(replace(found, brief=f"stable, and comparable with {kl.name} or better") for found in both)


def _minent_on_both_sides(study: Study) -> Finding:
    """Missing one side is no opposite: other coefficients may show it."""
    if problem := study.too_small("MIN-2.8B", zero=False):
        return untested(problem)
    cells = study.row("MIN-2.8B")
    conservative: tuple[Label, ...] = ("STALL", "FLAT")
    return all_of(study.some(cells, partial(_labeled, labels=side)) for side in (conservative, OVER_OPTIMIZED))


def _labeled(cell: Cell, _: Thresholds, labels: tuple[Label, ...]) -> Finding:
    return labeled(cell, yes=labels, no=())


def best_below_kl(size: str) -> Rule:
    """A rule that at one size even the best MaxEnt run, over learning rates and coefficients, wins less than KL's."""

    def rule(study: Study) -> Finding:
        rows = [row for row in MAXENT if size_of(row) == size]
        if problem := _any_too_small(study, *rows):
            return untested(problem)
        return best_is_below(study.nonzero(rows), study.cell(f"KL-{size}"), study.thresholds)

    return rule


def _none_good_at_all_sizes(study: Study) -> Finding:
    """For no learning rate and coefficient MaxEnt is GOOD at all three sizes."""
    shared = []
    for lr in (HIGH, LOW):
        rows = [maxent(size, lr) for size in SIZES]
        if problem := _any_too_small(study, *rows):
            return untested(problem)
        grids = [{cell.setting["coef"]: cell for cell in study.row(row)} for row in rows]
        common = set.intersection(*(set(grid) for grid in grids)) - {0}
        shared += [[grid[coef] for grid in grids] for coef in sorted(common, key=float)]
    if not shared:
        return untested("no coefficient was run at all three sizes at the same learning rate")
    t = study.thresholds
    found = [all_of(good(cell, t) for cell in cells) for cells in shared]
    together = negated(any_of(found))
    if together.truth is Truth.UNTESTED:
        return together
    count = sum(one.truth is Truth.YES for one in found)
    reason = f"{count} of {len(found)} settings (learning rate, coefficient) are GOOD at all three sizes"
    return replace(together, reason=reason)


def _unreliable(study: Study) -> Finding:
    parts = (BELOW_KL, NOT_AT_ALL_SIZES)
    found = any_of(part.finding(study) for part in parts)
    said = [f"{part.id} {part.finding(study).truth.value}: {part.finding(study).reason}" for part in parts]
    return replace(found, reason="; ".join(said))


BEST_BELOW_KL = tuple(
    Claim(
        f"C33.a.{size}",
        f"the best MaxEnt run at {size} wins less than KL-constrained RL",
        f"best of all learning rates and coefficients < KL-{size} by 2 SE",
        best_below_kl(size),
    )
    for size in SIZES
)
BELOW_KL = Claim("C33.a", "at every size the best MaxEnt run wins less than KL", "all sizes", None, BEST_BELOW_KL)
NOT_AT_ALL_SIZES = Claim(
    "C33.b",
    "no single MaxEnt setting works at all sizes",
    "no (learning rate, coefficient) is GOOD at 1B, 2.8B and 6.9B",
    _none_good_at_all_sizes,
)

_STABLE = "no coefficient over-optimizes or collapses, numbers are finite, completions end"

ONLINE: tuple[Claim, ...] = (
    Claim(
        "C10",
        "at the high learning rate MaxEnt over-optimizes for every coefficient",
        "OVER or OVER-PEAK for every coefficient, at each size",
        None,
        tuple(
            Claim(
                f"C10.{size}",
                f"at {size} and the high learning rate MaxEnt over-optimizes for every coefficient",
                f"{maxent(size, HIGH)}: every coefficient",
                every(maxent(size, HIGH), over),
            )
            for size in SIZES
        ),
    ),
    Claim(
        "C11",
        "MaxEnt at the high learning rate over-optimizes rapidly",
        "below SFT's win rate by 2 SE before 50 % of the training, in at least half of the settings at 1B and 6.9B",
        _early("1B", "6.9B"),
        tuple(
            Claim(
                f"C11.{size}",
                f"MaxEnt at {size} and the high learning rate over-optimizes rapidly",
                f"{maxent(size, HIGH)}",
                _early(size),
            )
            for size in ("1B", "6.9B")
        ),
    ),
    Claim(
        "C12",
        "at 1B and the low learning rate MaxEnt is stable and beats SFT",
        "both parts",
        None,
        (
            Claim(
                "C12.a",
                "MaxEnt at 1B and the low learning rate is stable for every coefficient",
                _STABLE,
                every(maxent("1B", LOW), stable),
            ),
            Claim(
                "C12.b",
                "MaxEnt at 1B and the low learning rate beats SFT for some coefficient",
                "GOOD for at least one coefficient > 0",
                _some_good,
            ),
        ),
    ),
    Claim(
        "C13",
        "the gains of MaxEnt at 1B and the low learning rate are not due to entropy",
        "both parts",
        None,
        (
            Claim(
                "C13.a",
                "at 1B and the low learning rate the best entropy coefficient is as good as 0",
                "best coefficient > 0 and 0: win rates within .03 or 2 SE of each other (p of the best of several)",
                _not_due_to_entropy,
            ),
            Claim(
                "C13.b",
                "at 1B and the low learning rate the run without entropy beats SFT",
                "coefficient 0 is GOOD",
                _without_entropy_good,
            ),
        ),
    ),
    Claim(
        "C16",
        "at 2.8B and both lower learning rates every MaxEnt run over-optimizes and none beats SFT",
        "OVER or OVER-PEAK for every coefficient, at each learning rate",
        None,
        (
            *(
                Claim(
                    f"C16.{lr}",
                    f"at 2.8B and {lr} every MaxEnt run over-optimizes",
                    f"{maxent('2.8B', lr)}: every coefficient",
                    every(maxent("2.8B", lr), over),
                )
                for lr in (LOW, LOWEST)
            ),
            *(
                Claim(
                    f"C16.weak.{lr}",
                    f"weak form: at 2.8B and {lr} no MaxEnt run beats SFT",
                    "win rate not above SFT's by 2 SE, for every coefficient",
                    every(maxent("2.8B", lr), not_above),
                    counts=False,
                )
                for lr in (LOW, LOWEST)
            ),
        ),
    ),
    Claim(
        "C17",
        "KL-constrained RL at 2.8B is stable and effective",
        "KL-2.8B is GOOD and stable",
        single("KL-2.8B", good_and_stable),
    ),
    Claim("C18", "KL-constrained RL works at 1B, too", "KL-1B is GOOD and stable", single("KL-1B", good_and_stable)),
    Claim(
        "C19",
        "MaxEnt at 6.9B and the low learning rate is stable",
        "both parts",
        None,
        (
            Claim(
                "C19.a",
                "MaxEnt at 6.9B and the low learning rate is stable for every coefficient",
                _STABLE,
                every(maxent("6.9B", LOW), stable),
            ),
            Claim(
                "C19.b",
                "its score rises for every coefficient",
                "score_mean has a trend upward, for every coefficient",
                every(maxent("6.9B", LOW), partial(rises, metric="score_mean")),
            ),
        ),
    ),
    Claim(
        "C20",
        "MaxEnt at 6.9B and the high learning rate over-optimizes",
        "C10 at 6.9B; of runs that nobody judged: entropy rises and KL accelerates (dynamics only)",
        over_or_dynamics(maxent("6.9B", HIGH)),
    ),
    Claim(
        "C28",
        "size does not act monotonically: 6.9B behaves as 1B does, 2.8B does not",
        "at the low learning rate: all three parts",
        None,
        (
            Claim("C28.1B", "MaxEnt at 1B is stable", _STABLE, every(maxent("1B", LOW), stable)),
            Claim(
                "C28.2.8B",
                "MaxEnt at 2.8B over-optimizes",
                "OVER or OVER-PEAK for every coefficient",
                every(maxent("2.8B", LOW), over),
            ),
            Claim("C28.6.9B", "MaxEnt at 6.9B is stable", _STABLE, every(maxent("6.9B", LOW), stable)),
        ),
    ),
    Claim(
        "C30",
        "even a tiny clip range does not stop drift and over-optimization at 2.8B",
        "both parts, at the smallest clip range",
        None,
        (
            Claim(
                "C30.a",
                "consecutive KL rises at the smallest clip range",
                "kl_prev has a trend upward",
                _smallest_clip(partial(rises, metric="kl_prev")),
            ),
            Claim(
                "C30.b", "the run at the smallest clip range over-optimizes", "OVER or OVER-PEAK", _smallest_clip(over)
            ),
        ),
    ),
    Claim(
        "C31",
        "MinEnt prevents over-optimization at 1B and the high learning rate, and competes with KL",
        "both parts",
        None,
        (
            Claim(
                "C31.a",
                "some MinEnt run is stable and competes with KL",
                "a coefficient that is stable, with a win rate above KL-1B's or comparable",
                _a_minent_run_keeps_up,
            ),
            Claim(
                "C31.b",
                "every MaxEnt run over-optimizes at 1B and the high learning rate",
                "as C10.1B",
                every(maxent("1B", HIGH), over),
            ),
        ),
    ),
    Claim(
        "C32",
        "MinEnt at 2.8B is too conservative or over-optimizes",
        "both parts",
        None,
        (
            Claim(
                "C32.a",
                "every MinEnt run at 2.8B does one or the other",
                "STALL, FLAT, OVER or OVER-PEAK for every coefficient",
                lambda study: study.every("MIN-2.8B", conservative_or_over, zero=False),
            ),
            Claim(
                "C32.b",
                "both happen among MinEnt runs at 2.8B",
                "at least one coefficient on each side",
                _minent_on_both_sides,
            ),
        ),
    ),
    Claim(
        "C33",
        "MaxEnt does not reliably match KL-constrained RL",
        "one of the two parts",
        _unreliable,
        (BELOW_KL, NOT_AT_ALL_SIZES),
    ),
)

"""Claims about KL while online runs are trained: C21 to C27."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from overopt.outcomes import OVER_OPTIMIZED
from overopt.replication.cells import Cell, beside, ends
from overopt.replication.claims.atoms import (
    about_all,
    beyond,
    good,
    good_and_stable,
    missing,
    near,
    over_at_the_end,
    stable,
)
from overopt.replication.claims.claim import Claim, Rule, single
from overopt.replication.claims.dynamics import (
    bounded,
    drifts,
    drifts_by_lr2,
    ended,
    grows_steadily,
    levels_off,
    unrecorded,
)
from overopt.replication.claims.logic import (
    Finding,
    Number,
    Truth,
    all_of,
    any_of,
    distinct,
    untested,
    yes_no,
)
from overopt.replication.claims.study import LOW, LOWEST, SIZES, Study, Test, absent, maxent, with_entropy
from overopt.replication.claims.thresholds import Thresholds
from overopt.statistics import Difference

KL_ROWS = tuple(f"KL-{size}" for size in SIZES)
RELAXED = ("KL-relaxed-1B", "KL-relaxed-2.8B")


# C21, C22, C24, C27: KL-constrained runs


def _by_beta(study: Study, size: str) -> list[tuple[float, Cell]]:
    """The KL-constrained cells of a size, the strongest first; the main run's coefficient is in its configuration."""
    cells = [*study.row(f"KL-{size}"), *study.row(f"KL-relaxed-{size}")]
    known = [(_beta(cell), cell) for cell in cells]
    return sorted(known, key=lambda pair: -pair[0])


def _beta(cell: Cell) -> float:
    if "coef" in cell.setting:
        return float(cell.setting["coef"])
    regularizers = cell.runs[0].config.get("regularizers", ()) if cell.runs else ()
    return float(next((r["coef"] for r in regularizers if isinstance(r["coef"], int | float)), float("nan")))


def _sensitive(size: str) -> Rule:
    def rule(study: Study) -> Finding:
        by_beta = _by_beta(study, size)
        cells = [cell for _, cell in by_beta]
        rows = (f"KL-{size}", f"KL-relaxed-{size}")
        problem = absent(study, rows) or next((p for cell in cells if (p := unrecorded(cell, "kl_ref"))), None)
        if problem or len(cells) < study.thresholds.grid.nonzero:
            return untested(problem or f"grid too small: {len(cells)} KL coefficients at {size}")
        rising = [_ends_below(a, b, study.thresholds) for (_, a), (_, b) in pairwise(by_beta)]
        at = [cell.start_end("kl_ref").end for cell in cells]
        by_seed = [max(values) / min(values) for values in beside(cells, ended("kl_ref")) if min(values) > 0]
        ratio = max(at) / min(at) if min(at) > 0 else float("inf")
        least = study.thresholds.comparison.kl_range
        truth, number = beyond(
            f"largest by smallest kl_ref at {size}", ratio, by_seed, study.thresholds, at_least=least
        )
        steps = ", ".join(f"{end:.3g} at {beta:g}" for (beta, _), end in zip(by_beta, at, strict=True))
        together = all_of((*rising, about_all(cells, truth, "", number).but(*near(number, study.thresholds))))
        return Finding(together.truth, f"kl_ref ends at {steps}", together.numbers, together.runs, together.qualifiers)

    return rule


def _ends_below(a: Cell, b: Cell, t: Thresholds, metric: str = "kl_ref") -> Finding:
    """A series of a ends below that of b; above by two standard errors is the opposite."""
    if problem := unrecorded(a, metric) or unrecorded(b, metric):
        return untested(problem)
    d = ends(a, b, metric)
    if d is None:
        return untested(f"{a.name} and {b.name} share no seed")
    return _below(a, b, d, t, metric)


def _below(a: Cell, b: Cell, d: Difference, t: Thresholds, metric: str, least: float = 0.0) -> Finding:
    bound = -least * d.se
    number = Number(f"end of {metric}: {a.name} less {b.name}", d.mean, d.se, bound, bound - d.mean)
    truth = yes_no(d.mean < bound, d.mean > t.standard_errors * d.se)
    reason = f"{metric} of {a.name} less that of {b.name} ends at {d.mean:+.3g} (SE {d.se:.2g})"
    return about_all((a, b), truth, reason, number)


def _clearly_below(a: Cell, b: Cell, t: Thresholds) -> Finding:
    """The same by two standard errors."""
    if problem := unrecorded(a, "kl_ref") or unrecorded(b, "kl_ref"):
        return untested(problem)
    d = ends(a, b, "kl_ref")
    if d is None:
        return untested(f"{a.name} and {b.name} share no seed")
    return _below(a, b, d, t, "kl_ref", t.standard_errors)


def _kl_runs(study: Study) -> tuple[list[Cell], str | None]:
    cells = [cell for row in (*KL_ROWS, *RELAXED) for cell in study.row(row)]
    return cells, absent(study, (*KL_ROWS, *RELAXED)) or missing(*cells)


def _all_bounded(study: Study) -> Finding:
    cells, problem = _kl_runs(study)
    return untested(problem) if problem else all_of(bounded(cell, study.thresholds) for cell in cells)


def _bounded_though_over(study: Study) -> Finding:
    cells, problem = _kl_runs(study)
    hacked = [cell for cell in cells if cell.row in RELAXED and not problem and cell.label in OVER_OPTIMIZED]
    if problem or not hacked:
        return untested(problem or "no relaxed KL run over-optimizes")
    return all_of(bounded(cell, study.thresholds) for cell in hacked)


def _small_budget(study: Study) -> Finding:
    """KL at 6.9B ends below that at 1B, or below that of every stable MaxEnt run at 6.9B."""
    kl, t = study.cell("KL-6.9B"), study.thresholds
    rivals = study.nonzero([maxent("6.9B", LOW)])
    if problem := study.too_small(maxent("6.9B", LOW)) or missing(kl, *rivals):
        return untested(problem)
    steady = [cell for cell in rivals if cell.stable]
    alternatives = [_clearly_below(kl, study.cell("KL-1B"), t)]
    alternatives += [all_of(_clearly_below(kl, cell, t) for cell in steady)] if steady else []
    return any_of(alternatives)


# C23, C25, C26: KL of MaxEnt runs


def _every_maxent(test: Test, *, only_stable: bool = False) -> Rule:
    def rule(study: Study) -> Finding:
        cells, problem = with_entropy(study)
        if problem:
            return untested(problem)
        chosen = [cell for cell in cells if cell.stable or not only_stable]
        if not chosen:
            return untested("no MaxEnt run is stable")
        return all_of(test(cell, study.thresholds) for cell in chosen)

    return rule


def _stable_and_steady(size: str) -> Rule:
    def test(cell: Cell, t: Thresholds) -> Finding:
        return all_of((stable(cell, t), grows_steadily(cell, t)))

    return lambda study: study.every(maxent(size, LOW), test, only=lambda cell: bool(cell.setting["coef"]))


def _budget_depends_on_size(study: Study) -> Finding:
    """Some run at 2.8B is OVER at a KL not much above that at which some run of another size is GOOD."""
    rows = (maxent("2.8B", LOW), maxent("2.8B", LOWEST), maxent("1B", LOW), maxent("6.9B", LOW))
    single = (study.cell("KL-1B"), study.cell("KL-6.9B"))
    hacked = [cell for row in rows[:2] for cell in study.row(row)]
    fine = [*(cell for row in rows[2:] for cell in study.row(row)), *single]
    problem = next((p for row in rows if (p := study.too_small(row))), None)
    problem = problem or next((p for cell in (*hacked, *fine) if (p := unrecorded(cell, "kl_ref"))), None)
    if problem:
        return untested(problem)
    t = study.thresholds
    pairs = [(a, b) for a in hacked for b in fine]
    return _nearest(pairs, [all_of((over_at_the_end(a, t), good(b, t), _similar(a, b, t))) for a, b in pairs])


def _similar(a: Cell, b: Cell, t: Thresholds) -> Finding:
    at = [cell.start_end("kl_ref").end for cell in (a, b)]
    ratios = [x / y for x, y in beside((a, b), ended("kl_ref")) if y > 0]
    ratio = at[0] / at[1] if at[1] > 0 else float("inf")
    truth, number = beyond(f"kl_ref of {a.name} by that of {b.name}", ratio, ratios, t, at_most=t.comparison.kl_budget)
    return about_all((a, b), truth, f"kl_ref of {a.name} ends at {at[0]:.3g}, of {b.name} at {at[1]:.3g}", number)


def _nearest(pairs: Sequence[tuple[Cell, Cell]], found: Sequence[Finding]) -> Finding:
    """Any of the pairs; the numbers are those of the pair that comes closest."""
    truth = any_of(found).truth
    deciding = [finding for finding in found if finding.truth is truth]
    best = min(deciding, key=lambda finding: finding.numbers[-1].value)
    cells = [cell for pair in pairs for cell in pair]
    count = f"{sum(f.truth is Truth.YES for f in found)} of {len(found)} pairs of settings. Closest: "
    whole = about_all(tuple(dict.fromkeys(cells)), truth, count + best.reason, *best.numbers)
    return Finding(truth, whole.reason, whole.numbers, whole.runs, distinct(whole.qualifiers))


KL: tuple[Claim, ...] = (
    Claim(
        "C21",
        "the KL coefficient decides how far KL-constrained runs go",
        "at both sizes: the end of kl_ref falls with the coefficient over at least 3 values, by a factor of 2 or more",
        None,
        tuple(
            Claim(
                f"C21.{size}",
                f"at {size} the KL coefficient decides how far KL-constrained runs go",
                f"KL-{size} and KL-relaxed-{size}",
                _sensitive(size),
            )
            for size in SIZES[:2]
        ),
    ),
    Claim(
        "C22",
        "KL-constrained RL keeps consecutive KL bounded, even in a relaxed run that over-optimizes",
        "both parts",
        None,
        (
            Claim(
                "C22.a",
                "consecutive KL stays bounded in every KL-constrained run",
                "kl_prev in bins: its maximum over the last 80 % <= 2 x its median over 10-30 %, and no trend upward",
                _all_bounded,
            ),
            Claim(
                "C22.b",
                "it stays bounded in relaxed runs that over-optimize",
                "the same for those labeled OVER or OVER-PEAK",
                _bounded_though_over,
            ),
        ),
    ),
    Claim(
        "C23",
        "consecutive KL of MaxEnt rises, also in well-behaved runs",
        "both parts",
        None,
        (
            Claim(
                "C23.a",
                "consecutive KL rises in every MaxEnt run",
                "kl_prev has a trend upward and ends at 1.5 x its start or more, for every coefficient > 0",
                _every_maxent(drifts),
            ),
            Claim(
                "C23.b",
                "consecutive KL rises in stable MaxEnt runs",
                "the same for stable runs",
                _every_maxent(drifts, only_stable=True),
            ),
            Claim(
                "C23.c",
                "consecutive KL of MaxEnt rises relative to the learning rate",
                "the same for kl_prev / lr^2, which a decaying schedule does not lower",
                _every_maxent(drifts_by_lr2),
                counts=False,
            ),
        ),
    ),
    Claim(
        "C24",
        "KL to the reference of KL-constrained runs grows at first, then slowly",
        "over the learning rates summed up: half(kl_ref) >= .7 and late/early slope <= .33, at each size",
        None,
        tuple(
            Claim(
                f"C24.{size}",
                f"KL to the reference of the KL-constrained run at {size} grows at first, then slowly",
                f"KL-{size}",
                single(f"KL-{size}", levels_off),
            )
            for size in SIZES
        ),
    ),
    Claim(
        "C25",
        "KL of MaxEnt grows about linearly at 1B and 6.9B, without a collapse",
        "low rate, every coefficient > 0: stable, R2 of a line >= .9, late/early slope >= .5 over rates summed up",
        None,
        tuple(
            Claim(
                f"C25.{size}",
                f"KL of MaxEnt grows about linearly at {size}, without a collapse",
                maxent(size, LOW),
                _stable_and_steady(size),
            )
            for size in ("1B", "6.9B")
        ),
    ),
    Claim(
        "C26",
        "similar KL means severe over-optimization at 2.8B: the budget depends on size",
        "some MaxEnt run at 2.8B is OVER with kl_ref at most 1.25 x that of some GOOD run at 1B or 6.9B",
        _budget_depends_on_size,
    ),
    Claim(
        "C27",
        "KL-constrained RL at 6.9B is stable with a small KL budget",
        "both parts",
        None,
        (
            Claim(
                "C27.a",
                "KL-constrained RL at 6.9B is stable and effective",
                "KL-6.9B is GOOD and stable",
                single("KL-6.9B", good_and_stable),
            ),
            Claim(
                "C27.b",
                "KL to the reference of the KL-constrained run at 6.9B is small",
                "kl_ref ends below that of KL-1B by 2 SE, or below that of every stable MaxEnt run at 6.9B",
                _small_budget,
            ),
        ),
    ),
)

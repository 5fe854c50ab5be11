"""Claims about entropy and likelihood while online runs are trained: C14, C15, C29."""

from __future__ import annotations

from functools import partial

from overopt.outcomes import OVER_OPTIMIZED
from overopt.replication.cells import Cell
from overopt.replication.claims.atoms import missing, no_gain
from overopt.replication.claims.claim import Claim, Rule
from overopt.replication.claims.dynamics import (
    falls,
    falls_more,
    rank_correlation,
    rises,
    unrecorded,
)
from overopt.replication.claims.logic import (
    Finding,
    all_of,
    at_least,
    untested,
)
from overopt.replication.claims.study import MAXENT, SIZES, Study, Test, absent, with_entropy

KL_ROWS = tuple(f"KL-{size}" for size in SIZES)


# C14, C15: entropy


def _entropy_of(group: str, test: Test) -> Rule:
    """A rule that most runs of a group, `stable` or `over-optimized`, have a trend of their entropy."""

    def rule(study: Study) -> Finding:
        cells, problem = with_entropy(study)
        if problem:
            return untested(problem)
        chosen = [c for c in cells if (c.stable if group == "stable" else c.label in OVER_OPTIMIZED)]
        if not chosen:
            return untested(f"no MaxEnt run is {group}")
        return at_least(study.thresholds.share.entropy, (test(cell, study.thresholds) for cell in chosen))

    return rule


def _entropy_goes_with_harm(study: Study) -> Finding:
    cells, problem = with_entropy(study)
    if problem := problem or next((p for cell in cells if (p := unrecorded(cell, "neg_logp_tok"))), None):
        return untested(problem)
    starts_ends = [cell.start_end("neg_logp_tok") for cell in cells]
    changes = [one.end - one.start for one in starts_ends]
    what = "change of neg_logp_tok with win rate less SFT's"
    return rank_correlation(cells, study.thresholds, what, changes, [cell.difference.mean for cell in cells])


def _entropy_prevents_nothing(study: Study) -> Finding:
    """Where the run without entropy over-optimizes, no coefficient wins more."""
    cells, problem = with_entropy(study)
    plain = [cell for row in MAXENT for cell in study.row(row) if cell.setting["coef"] == 0]
    if problem := problem or missing(*plain):
        return untested(problem)
    hacked = [cell for cell in plain if cell.label in OVER_OPTIMIZED]
    if not hacked:
        return untested("no run without entropy is over-optimized")
    t = study.thresholds
    return all_of(no_gain([c for c in cells if c.row == other.row], other, t) for other in hacked)


# C29: likelihood


def _fall_of_references(cell: Cell) -> float:
    """Fall of the mean log-probability per token of the references, from the first to the last evaluation."""
    falls = []
    for run in cell.runs:
        values = [
            row["ref_summary_logp_mean"] for row in run.evaluations if row.get("ref_summary_logp_mean") is not None
        ]
        falls.append(values[0] - values[-1])
    return sum(falls) / len(falls)


def _judged_online(study: Study) -> tuple[list[Cell], str | None]:
    """The MaxEnt cells, 0 among the coefficients, and the KL-constrained ones."""
    rows = (*MAXENT, *KL_ROWS)
    cells = [cell for row in rows for cell in study.row(row)]
    unmeasured = next(
        (
            f"{cell.name}: the likelihood of references is not recorded"
            for cell in cells
            for run in cell.runs
            if sum(row.get("ref_summary_logp_mean") is not None for row in run.evaluations) < 2
        ),
        None,
    )
    return cells, absent(study, rows) or missing(*cells) or unmeasured


def _likelihood_falls_more(study: Study) -> Finding:
    cells, problem = _judged_online(study)
    if problem:
        return untested(problem)
    hacked, fine = ([cell for cell in cells if cell.label in labels] for labels in (OVER_OPTIMIZED, ("GOOD",)))
    what = "log-probability of a reference's token"
    return falls_more(hacked, fine, study.thresholds, what, _fall_of_references)


def _likelihood_goes_with_harm(study: Study) -> Finding:
    cells, problem = _judged_online(study)
    if problem:
        return untested(problem)
    found = [_fall_of_references(cell) for cell in cells]
    what = "fall of references' likelihood with win rate less SFT's"
    return rank_correlation(cells, study.thresholds, what, found, [cell.difference.mean for cell in cells])


ENTROPY: tuple[Claim, ...] = (
    Claim(
        "C14",
        "the entropy of stable MaxEnt runs decays, that of over-optimized ones rises",
        "both parts",
        None,
        (
            Claim(
                "C14.a",
                "the entropy of stable MaxEnt runs decays",
                "neg_logp_tok has a trend downward in at least 80 % of the stable settings with coefficient > 0",
                _entropy_of("stable", partial(falls, metric="neg_logp_tok")),
            ),
            Claim(
                "C14.b",
                "the entropy of over-optimized MaxEnt runs rises",
                "neg_logp_tok has a trend upward in at least 80 % of the over-optimized settings with coefficient > 0",
                _entropy_of("over-optimized", partial(rises, metric="neg_logp_tok")),
            ),
        ),
    ),
    Claim(
        "C15",
        "entropy goes with reward hacking rather than preventing it",
        "both parts",
        None,
        (
            Claim(
                "C15.a",
                "the more the entropy of a MaxEnt run grows, the lower its win rate",
                "Spearman's rho of the change of neg_logp_tok and win rate less SFT's over settings < 0 with p < .05",
                _entropy_goes_with_harm,
            ),
            Claim(
                "C15.b",
                "no coefficient prevents over-optimization",
                "where coefficient 0 over-optimizes, none wins more by 2 SE (p of the best of several)",
                _entropy_prevents_nothing,
            ),
        ),
    ),
    Claim(
        "C29",
        "over-optimized online runs show extreme falls of likelihood, too",
        "both parts",
        None,
        (
            Claim(
                "C29.a",
                "references fall much more in likelihood in over-optimized online runs",
                "the mean fall per token in over-optimized settings >= 3 x that in good ones",
                _likelihood_falls_more,
            ),
            Claim(
                "C29.b",
                "the more references fall in likelihood, the lower the win rate",
                "Spearman's rho of fall and win rate less SFT's over settings < 0 with p < .05",
                _likelihood_goes_with_harm,
            ),
        ),
    ),
)

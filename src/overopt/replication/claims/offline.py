"""Claims about offline runs: C34 to C44."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from overopt.outcomes import OVER_OPTIMIZED, paired
from overopt.replication.cells import Cell, beside, final, same_seeds
from overopt.replication.claims.atoms import (
    about,
    about_all,
    below_or_fell,
    beyond,
    comparable,
    gain,
    good,
    kept_its_peak,
    missing,
    near,
    not_above,
    signed,
)
from overopt.replication.claims.claim import Claim, Rule, every, single
from overopt.replication.claims.dynamics import falls_more, rank_correlation, unrecorded
from overopt.replication.claims.logic import Finding, Number, Truth, all_of, any_of, untested, yes_no
from overopt.replication.claims.margins import MARGINS
from overopt.replication.claims.online import BEST_BELOW_KL
from overopt.replication.claims.study import Study, absent
from overopt.replication.claims.thresholds import Thresholds
from overopt.replication.members import Member
from overopt.statistics import Difference, fall, kendall, rise, several_seeds

FAST, SLOW = "SIMPO-1B-1e-6", "SIMPO-1B-2e-7"
"""SimPO at the high and at the low learning rate."""


# C34, C35, C38: SimPO at the high learning rate


def _own_proxy_rises(cell: Cell, _: Thresholds) -> Finding:
    """The accuracy or the margin of SimPO's own implicit reward rises; both falling is the opposite."""
    if problem := unrecorded(cell, "rewards_acc", "rewards_margin"):
        return untested(problem)
    found = []
    for metric in ("rewards_acc", "rewards_margin"):
        ends = cell.start_end(metric)
        values = cell.series(metric)[1]
        change = Number(f"{cell.name}: end less start of {metric}", ends.end - ends.start, ends.se)
        reason = f"{metric} of {cell.name} goes from {ends.start:.3g} to {ends.end:.3g}"
        found.append(about(cell, yes_no(rise(values), fall(values)), reason, change))
    return replace(any_of(found), brief="its own reward rises")


def _over_by_its_own_proxy(cell: Cell, t: Thresholds) -> Finding:
    return all_of((below_or_fell(cell, t), _own_proxy_rises(cell, t)))


def _ranks(what: str, value: str) -> Rule:
    """A rule that a value falls with gamma, by Kendall's tau; a positive tau is the opposite."""

    def rule(study: Study) -> Finding:
        cells, t = study.row(FAST), study.thresholds
        if len(cells) < t.grid.margins:
            return untested(f"grid too small: {FAST} has {len(cells)} values of gamma, {t.grid.margins} are needed")
        problem = missing(*cells) if value == "win_rate" else _lacking(cells, value)
        if problem:
            return untested(problem)
        gammas = [float(cell.setting["gamma"]) for cell in cells]

        def tau(of: Sequence[float]) -> float:
            found = kendall(gammas, of, permutations=9).value
            return found if math.isfinite(found) else 0.0

        def at(cell: Cell) -> float:
            return cell.win_rate if value == "win_rate" else cell.start_end(value).end

        by_seed = [tau(values) for values in beside(cells, at)]
        found = tau([at(cell) for cell in cells])
        most = -t.comparison.rank_tau
        truth, number = beyond(f"tau of gamma and {what}", found, by_seed, t, at_most=most, opposite=0.0)
        reason = f"tau of gamma and {what} over {len(cells)} values is {found:+.2f} (<= {most:g} wanted)"
        return about_all(cells, truth, reason, number).but(*near(number, t))

    return rule


def _fall_of_chosen(cell: Cell) -> float:
    ends = cell.start_end("logps_chosen_mean")
    return ends.start - ends.end


def _offline(study: Study) -> tuple[list[Cell], str | None]:
    """The cells of SimPO and DPO, and what they lack."""
    rows = (FAST, SLOW, "DPO-1B")
    cells = [cell for row in rows for cell in study.row(row)]
    return cells, absent(study, rows) or _lacking(cells, "logps_chosen_mean")


def _lacking(cells: Sequence[Cell], *metrics: str) -> str | None:
    return next((problem for cell in cells if (problem := unrecorded(cell, *metrics))), None)


def _chosen_fall_more(study: Study) -> Finding:
    cells, problem = _offline(study)
    if problem:
        return untested(problem)
    hacked = [cell for cell in cells if _over(cell, study.thresholds)]
    fine = [cell for cell in cells if cell.label == "GOOD"]
    return falls_more(hacked, fine, study.thresholds, "log-probability of a chosen token", _fall_of_chosen)


def _over(cell: Cell, t: Thresholds) -> bool:
    """Over-optimized by the reward model's score, or by SimPO's own reward, as in C34."""
    return cell.label in OVER_OPTIMIZED or (cell.row == FAST and _over_by_its_own_proxy(cell, t).truth is Truth.YES)


def _chosen_fall_with_harm(study: Study) -> Finding:
    cells, problem = _offline(study)
    if problem:
        return untested(problem)
    falls = [_fall_of_chosen(cell) for cell in cells]
    what = "fall of chosen likelihood with win rate less SFT's"
    return rank_correlation(cells, study.thresholds, what, falls, [cell.difference.mean for cell in cells])


# C36, C37: what the paper tried and dropped


def _chi_no_stabler(study: Study) -> Finding:
    """From 1 to 4 epochs chiPO does not lose less than DPO at the same beta, by two standard errors."""
    betas = {cell.setting.get("beta") for cell in study.row("CHI-1B")}
    others = {cell.setting.get("beta") for cell in study.row("CHI-DPO-1B")}
    if not betas or betas != others:
        return untested("CHI-1B and CHI-DPO-1B do not have the same values of beta, or are not part of the study")
    return all_of(_losses(study, float(beta)) for beta in sorted(betas, key=str) if beta is not None)


def _losses(study: Study, beta: float) -> Finding:
    chi, dpo = study.cell("CHI-1B", beta=beta), study.cell("CHI-DPO-1B", beta=beta)
    if problem := missing(chi, dpo):
        return untested(problem)
    lost = [(_loss(one, _epoch(chi)), _loss(other, _epoch(dpo))) for one, other in same_seeds(chi, dpo)]
    pairs = [(one, other) for one, other in lost if one and other and one.keys() & other.keys()]
    if 2 * len(pairs) < max(chi.planned, dpo.planned):
        return untested(f"beta {beta:g}: too few seeds of both have evaluations after 1 and after 4 epochs")
    d, z = several_seeds([paired(other, one) for one, other in pairs]), study.thresholds.standard_errors
    own, other = ([_mean(losses) for losses in column] for column in zip(*pairs, strict=True))
    means, bound = (several_seeds(own), several_seeds(other)), z * d.se
    what = "loss of win rate from epoch 1 to 4"
    numbers = (
        Number(f"beta {beta:g}: {what}, DPO's less chiPO's", d.mean, d.se, bound, bound - d.mean),
        Number(f"{chi.name}: {what}", *means[0]),
        Number(f"{dpo.name}: {what}", *means[1]),
    )
    reason = f"beta {beta:g}: chiPO loses {signed(means[0])} from epoch 1 to 4, DPO {signed(means[1])}"
    found = about_all((chi, dpo), yes_no(d.mean <= 0 or d.mean < bound, True), reason, *numbers)
    return found if means[1].mean > z * means[1].se else found.but(f"at beta {beta:g} DPO loses nothing to prevent")


def _mean(losses: Mapping[str, float]) -> Difference:
    return paired(losses, dict.fromkeys(losses, 0.0))


def _epoch(cell: Cell) -> int:
    """Updates in an epoch, by the run that came furthest."""
    return round(max(max(run.won) for run in cell.runs) / int(cell.runs[0].config.get("epochs") or 1))


def _loss(run: Member, epoch: int) -> dict[str, float] | None:
    """By prompt the outcome after the first epoch less that of the last checkpoint; None if either is not known."""
    first, last = run.won.get(epoch), final(run)
    if first is None or epoch == max(run.won):
        return None
    return {prompt: first[prompt] - last[prompt] for prompt in first.keys() & last.keys()}


def _hh(study: Study) -> Finding:
    cell = study.cell("HH-DPO")
    if problem := cell.problem:
        return untested(problem)
    differences = np.array(cell.by_seed(lambda one: one.difference.mean))
    spread = float(differences.std(ddof=1)) if differences.size > 1 else math.nan
    found = not_above(cell, study.thresholds)
    number = Number("standard deviation of that over seeds", spread)
    limits = () if study.members.scale == "pythia" else ("a second miniature task stands for HH-RLHF",)
    whole = Finding(found.truth, found.reason, (*found.numbers, number), found.runs, found.qualifiers)
    return whole.but("one implementation", *limits)


# C39 to C42, C44


def _some_margin(study: Study) -> Finding:
    problem = study.too_small(SLOW, "gamma")
    return untested(problem) if problem else study.some(study.row(SLOW), good)


def _margin_helps(study: Study) -> Finding:
    if problem := study.too_small(SLOW, "gamma"):
        return untested(problem)
    return gain(study.nonzero([SLOW], "gamma"), study.cell(SLOW, gamma=0.0), study.thresholds)


def _as_good_as_dpo(study: Study) -> Finding:
    return comparable(study.cell(SLOW, gamma=0.0), study.cell("DPO-1B"), study.thresholds)


def _asymmetry(study: Study) -> Finding:
    """Offline works where online fails: at 1B or, weaker, at 2.8B."""
    offline = WORKS.finding(study)
    sizes = [claim.finding(study) for claim in BEST_BELOW_KL[:2]]
    said = [f"{claim.id} {claim.finding(study).truth.value}" for claim in (WORKS, *BEST_BELOW_KL[:2])]
    found = replace(all_of((offline, any_of(sizes))), reason="; ".join(said))
    weaker = sizes[0].truth is not Truth.YES and sizes[1].truth is Truth.YES
    return found.but("weaker form: MaxEnt fails at 2.8B, not at 1B") if weaker else found


WORKS = Claim(
    "C39",
    "SimPO at 1B and the low learning rate works",
    "both parts",
    None,
    (
        Claim(
            "C39.a",
            "SimPO at 1B and the low learning rate beats SFT for some margin",
            "GOOD for at least one gamma",
            _some_margin,
        ),
        Claim(
            "C39.b",
            "SimPO at 1B and the low learning rate falls from its peak for no margin",
            "for every gamma: the fall is not as unlikely by chance as 2 SE (p of the best of all checkpoints)",
            every(SLOW, kept_its_peak, "gamma"),
        ),
    ),
)

OFFLINE: tuple[Claim, ...] = (
    Claim(
        "C34",
        "SimPO at 1B and the high learning rate over-optimizes for every margin",
        "for every gamma: win rate below SFT's (or back from its peak) while rewards_acc or rewards_margin rise",
        every(FAST, _over_by_its_own_proxy, "gamma"),
    ),
    Claim(
        "C35",
        "for SimPO at 1B and the high learning rate a larger margin is worse",
        "both parts, over 5 values of gamma",
        None,
        (
            Claim(
                "C35.a",
                "a larger margin is worse for the win rate",
                "Kendall's tau of gamma and the final win rate <= -.6",
                _ranks("win rate", "win_rate"),
            ),
            Claim(
                "C35.b",
                "a larger margin is worse for the likelihood",
                "Kendall's tau of gamma and the end of logps_chosen_mean <= -.6",
                _ranks("chosen log-probability", "logps_chosen_mean"),
            ),
        ),
    ),
    Claim("C36", "on HH-RLHF DPO does not beat SFT", "HH-DPO: win rate not above SFT's by 2 SE", _hh),
    Claim(
        "C37",
        "chiPO's stability over several epochs cannot be reproduced",
        "for every beta: its loss of win rate from epoch 1 to 4 is not smaller than DPO's by 2 SE",
        _chi_no_stabler,
    ),
    Claim(
        "C38",
        "extreme falls of likelihood accompany over-optimization",
        "both parts",
        None,
        (
            Claim(
                "C38.a",
                "chosen completions fall much more in likelihood in over-optimized offline runs",
                "the mean fall of logps_chosen_mean in over-optimized settings >= 3 x that in good ones",
                _chosen_fall_more,
            ),
            Claim(
                "C38.b",
                "the more chosen completions fall in likelihood, the lower the win rate",
                "Spearman's rho of fall and win rate less SFT's over settings < 0 with p < .05",
                _chosen_fall_with_harm,
            ),
        ),
    ),
    WORKS,
    Claim(
        "C40",
        "for SimPO at 1B and the low learning rate an appropriate margin helps",
        "the best gamma > 0 wins more than gamma 0 by 2 SE (p of the best of several); inconclusive otherwise",
        _margin_helps,
    ),
    Claim(
        "C41",
        "SimPO at 1B and the low learning rate without a margin is as good as DPO",
        "win rates of gamma 0 and DPO-1B are comparable: within .03 or 2 SE",
        _as_good_as_dpo,
    ),
    Claim("C42", "DPO at 1B is effective", "DPO-1B is GOOD", single("DPO-1B", good)),
    MARGINS,
    Claim(
        "C44",
        "SimPO offline succeeds where MaxEnt online fails",
        "C39, and C33.a at 1B or (weaker) at 2.8B",
        _asymmetry,
    ),
)

"""C43: the margins that the reference itself gives to preference pairs, of which DPO's loss subtracts beta times."""

from __future__ import annotations

import math

import numpy as np

from overopt.replication.cells import Cell
from overopt.replication.claims.atoms import (
    about,
    beyond,
    near,
    signed,
)
from overopt.replication.claims.claim import Claim, single
from overopt.replication.claims.dynamics import unrecorded
from overopt.replication.claims.logic import Finding, Number, untested, yes_no
from overopt.replication.claims.thresholds import Thresholds
from overopt.statistics import Difference, direction, several_seeds
from overopt.statistics.differences import standard_error


def _mean_is_negative(cell: Cell, t: Thresholds) -> Finding:
    if problem := unrecorded(cell, "ref_margin"):
        return untested(problem)
    d = _mean_margin(cell)
    bound = -t.standard_errors * d.se
    beta = float((cell.runs[0].config.get("loss") or {}).get("beta", math.nan))
    numbers = (
        Number("mean of log pi_ref(y_w) - log pi_ref(y_l)", d.mean, d.se, bound, bound - d.mean),
        Number("beta times that mean, DPO's counterpart of gamma", beta * d.mean),
    )
    return about(cell, yes_no(d.mean < bound, d.mean > -bound), f"the mean reference margin is {signed(d)}", *numbers)


def _mean_margin(cell: Cell) -> Difference:
    columns = [run.series["ref_margin"][1] for run in cell.runs]
    return several_seeds([Difference(float(column.mean()), standard_error(column)) for column in columns])


def _mean_is_small(cell: Cell, t: Thresholds) -> Finding:
    """Less than the standard deviation of single pairs; without a record of it, by that of the batch means."""
    if problem := unrecorded(cell, "ref_margin"):
        return untested(problem)
    recorded = cell.has("ref_margin_sd")
    size = cell.runs[0].config.get("batch_size")
    if not recorded and not size:
        return untested(f"{cell.name}: neither the spread of single pairs nor the batch size is recorded")

    def excess(one: Cell) -> float:
        batches = one.series("ref_margin")[1]
        sd = one.series("ref_margin_sd")[1].mean() if recorded else batches.std(ddof=1) * math.sqrt(float(size or 1))
        return float(abs(batches.mean()) / sd)

    by_seed = cell.by_seed(excess)  # not of the mean series, which varies less
    truth, number = beyond("size of the mean, by the sd of pairs", float(np.mean(by_seed)), by_seed, t, at_most=1.0)
    found = about(cell, truth, f"the mean is {number.value:.2g} standard deviations of single pairs", number).but(
        *near(number, t)
    )
    return found if recorded else found.but("the spread of single pairs is estimated from that of batch means")


def _band_is_narrow(cell: Cell, t: Thresholds) -> Finding:
    if problem := unrecorded(cell, "ref_margin"):
        return untested(problem)
    if problem := unrecorded(cell, "ref_margin_iqr"):
        return untested(f"{problem}: it takes the quartiles of single pairs")

    def band(one: Cell) -> float:
        low, high = np.quantile(one.series("ref_margin")[1], (0.05, 0.95))
        return float((high - low) / one.series("ref_margin_iqr")[1].mean())

    by_seed, most = cell.by_seed(band), t.comparison.band
    what = "band of batch means, by the pairs' quartiles"
    truth, number = beyond(what, float(np.mean(by_seed)), by_seed, t, at_most=most)
    reason = f"the band of batch means is {number.value:.2g} x the pairs' interquartile range"
    return about(cell, truth, reason, number).but(*near(number, t))


def _no_trend(cell: Cell, t: Thresholds) -> Finding:
    if problem := unrecorded(cell, "ref_margin"):
        return untested(problem)
    trend = cell.trend("ref_margin")
    numbers = (
        Number("tau of ref_margin", trend.tau, None, t.trend.tau, t.trend.tau - abs(trend.tau)),
        Number("p of that tau", trend.p, None, t.trend.p, trend.p - t.trend.p),
    )
    still = direction(trend, t.trend.tau, t.trend.p) == "none"
    return about(cell, yes_no(still, True), f"tau over steps is {trend.tau:+.2f}, p {trend.p:.2g}", *numbers)


MARGINS: Claim = Claim(
    "C43",
    "margins of the reference lie in a narrow range about a slightly negative mean",
    "all four parts, of the batch means of DPO-1B",
    None,
    (
        Claim(
            "C43.a",
            "the mean of the reference's margins is negative",
            "mean of ref_margin < 0 by 2 SE",
            single("DPO-1B", _mean_is_negative),
        ),
        Claim(
            "C43.b",
            "the mean of the reference's margins is small",
            "its size < the standard deviation of single pairs",
            single("DPO-1B", _mean_is_small),
        ),
        Claim(
            "C43.c",
            "batch means of the reference's margins lie in a narrow band",
            "5 to 95 % of the batch means <= .5 x the interquartile range of single pairs",
            single("DPO-1B", _band_is_narrow),
        ),
        Claim(
            "C43.d",
            "the reference's margins have no trend",
            "Kendall's tau of ref_margin against steps is no trend",
            single("DPO-1B", _no_trend),
        ),
    ),
)

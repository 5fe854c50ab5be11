"""KL to the reference, against step and against the learning rate spent so far."""

from __future__ import annotations

import numpy as np

from overopt.analysis.report.collect import Group, Points, ReportedRun
from overopt.analysis.report.figures.drawing import Figure, line_panel, make_figure

KL = "KL to the reference (nats per completion)"


def draw_kl(group: Group) -> Figure | None:
    return make_figure(
        "kl",
        "KL to the reference",
        "How far the policy has moved from where it started: while training, on its own samples (offline: at"
        " evaluations). On the cumulative learning rate, runs of different learning rates compare.",
        [
            line_panel(group, "kl_step", KL, "step", kl_of),
            line_panel(group, "kl_lr", KL, "cumulative learning rate", on_learning_rate),
        ],
    )


def kl_of(record: ReportedRun) -> Points | None:
    """KL during training if it was recorded, otherwise at evaluations."""
    points = record.metrics.get("kl_ref")
    return points if points is not None else record.evaluated("kl_ref")


def on_learning_rate(record: ReportedRun) -> Points | None:
    """KL against the sum of the learning rates of all updates so far."""
    points, rates = kl_of(record), record.metrics.get("lr")
    if points is None or rates is None:
        return None
    spent = np.interp(points[0], np.r_[0.0, rates[0]], np.r_[0.0, np.cumsum(rates[1])])
    return spent, points[1]

"""Reward, proxy and gold on the samples an online run trains on, and its gradients."""

from __future__ import annotations

from overopt.analysis.report.collect import Group
from overopt.analysis.report.figures.drawing import Figure, make_figure, metric_panels


def figure(group: Group) -> Figure | None:
    if all("score_mean" not in record.metrics for record in group.records):
        return None
    return make_figure(
        "training",
        "While training",
        "On the training samples, at the training temperature: what is maximized (proxy plus bonus), the proxy alone,"
        " gold, and the gradient's norm before clipping.",
        metric_panels(
            group,
            {
                "rlhf_reward": "reward maximized",
                "score_mean": "proxy on training samples",
                "gold_mean": "gold on training samples",
                "grad_norm": "gradient norm",
            },
        ),
    )

"""KL between consecutive policies."""

from __future__ import annotations

from overopt.analysis.report.collect import Group
from overopt.analysis.report.figures.drawing import Figure, make_figure, metric_panels


def figure(group: Group) -> Figure | None:
    return make_figure(
        "consecutive",
        "KL between consecutive policies",
        "How large an update is, in both directions, estimated on the update's own samples. Growing steps announce"
        " instability before the win rate shows it.",
        metric_panels(
            group,
            {
                "kl_prev": "KL(new || old), nats",
                "kl_prev_reverse": "KL(old || new), nats",
                "approxkl": "½ mean squared log-ratio in the update",
            },
        ),
    )

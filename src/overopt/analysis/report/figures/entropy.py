"""Entropy and what is paid for it."""

from __future__ import annotations

from overopt.analysis.report.collect import Group
from overopt.analysis.report.figures.drawing import Figure, make_figure, metric_panels


def figure(group: Group) -> Figure | None:
    return make_figure(
        "entropy",
        "Entropy and bonus",
        "Exact entropy per token, the sampled surprisal per token, and the regularizer's mean contribution to the"
        " reward. A bonus that rises beside the proxy is being farmed.",
        metric_panels(
            group,
            {
                "entropy_tok": "entropy per token (nats)",
                "neg_logp_tok": "surprisal per token (nats)",
                "bonus_mean": "mean bonus (reward units)",
            },
        ),
    )

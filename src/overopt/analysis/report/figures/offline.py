"""Training on pairs: loss, accuracy, margins and log-probabilities."""

from __future__ import annotations

from overopt.analysis.report.collect import Group
from overopt.analysis.report.figures.drawing import Figure, make_figure, metric_panels


def figure(group: Group) -> Figure | None:
    if all("rewards_margin" not in record.metrics for record in group.records):
        return None
    return make_figure(
        "offline",
        "Training on pairs",
        "Log-probabilities of chosen and rejected completions as sums and as means per token. Both falling while the"
        " margin grows is the signature of over-optimization offline. The reference's margin is of frozen data: a"
        " trend in it is the order of the data.",
        metric_panels(
            group,
            {
                "loss": "loss",
                "rewards_acc": "accuracy on the batch",
                "rewards_margin": "implicit reward margin",
                "logps_chosen_sum": "log p(chosen), sum (nats)",
                "logps_rejected_sum": "log p(rejected), sum (nats)",
                "ref_margin": "reference's margin (nats)",
                "logps_chosen_mean": "log p(chosen), per token (nats)",
                "logps_rejected_mean": "log p(rejected), per token (nats)",
                "grad_norm": "gradient norm",
            },
        ),
    )

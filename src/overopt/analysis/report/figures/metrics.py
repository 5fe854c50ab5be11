"""Families of figures that draw metrics of training against step, one panel for each metric."""

from __future__ import annotations

from overopt.analysis.report.collect import Group
from overopt.analysis.report.figures.drawing import Figure, make_figure, metric_panels


def draw_consecutive(group: Group) -> Figure | None:
    """KL between consecutive policies."""
    return make_figure(
        "consecutive",
        "KL between consecutive policies",
        "How large an update is, in both directions, estimated on the update's own samples. Growing steps announce"
        " instability before the win rate shows it.",
        metric_panels(
            group,
            kl_prev="KL(new || old), nats",
            kl_prev_reverse="KL(old || new), nats",
            approxkl="½ mean squared log-ratio in the update",
        ),
    )


def draw_entropy(group: Group) -> Figure | None:
    """Entropy and what is paid for it."""
    return make_figure(
        "entropy",
        "Entropy and bonus",
        "Exact entropy per token, the sampled surprisal per token, and the regularizer's mean contribution to the"
        " reward. A bonus that rises beside the proxy is being farmed.",
        metric_panels(
            group,
            entropy_tok="entropy per token (nats)",
            neg_logp_tok="surprisal per token (nats)",
            bonus_mean="mean bonus (reward units)",
        ),
    )


def draw_training(group: Group) -> Figure | None:
    """Reward, proxy and gold on the samples that an online run trains on, and its gradients."""
    if all("score_mean" not in record.metrics for record in group.records):
        return None
    return make_figure(
        "training",
        "While training",
        "On the training samples, at the training temperature: what is maximized (proxy plus bonus), the proxy alone,"
        " gold, and the gradient's norm before clipping.",
        metric_panels(
            group,
            rlhf_reward="reward maximized",
            score_mean="proxy on training samples",
            gold_mean="gold on training samples",
            grad_norm="gradient norm",
        ),
    )


def draw_offline(group: Group) -> Figure | None:
    """Loss, accuracy, margins and log-probabilities of training on pairs."""
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
            loss="loss",
            rewards_acc="accuracy on the batch",
            rewards_margin="implicit reward margin",
            logps_chosen_sum="log p(chosen), sum (nats)",
            logps_rejected_sum="log p(rejected), sum (nats)",
            ref_margin="reference's margin (nats)",
            logps_chosen_mean="log p(chosen), per token (nats)",
            logps_rejected_mean="log p(rejected), per token (nats)",
            grad_norm="gradient norm",
        ),
    )

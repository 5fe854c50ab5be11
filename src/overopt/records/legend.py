"""What the numbers in a run directory mean: a name, its unit and its definition, by file and stage.

The reference page is generated from here, and a run is held to it: what a stage promises is there, and nothing is
written that has no meaning. Log-probabilities are in nats, sums over a sequence unless said otherwise, and those of the
policy at the sampling temperature.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
ALL = ("sft", "reward_model", "online", "offline")


@dataclass(frozen=True)
class Meaning:
    """One number. `condition` says when it is there; empty: always, in the stages named."""

    unit: str
    text: str
    stages: tuple[str, ...]
    condition: str = ""


Legend = Mapping[str, Meaning]


def _online(unit: str, text: str, condition: str = "") -> Meaning:
    return Meaning(unit, text, ("online",), condition)


def _offline(unit: str, text: str, condition: str = "") -> Meaning:
    return Meaning(unit, text, ("offline",), condition)


METRICS: dict[str, Meaning] = {
    "step": Meaning("updates", "which update the line is about, from 1", ALL),
    "loss": Meaning("", "what was descended, mean over the batch", ALL),
    "lr": Meaning("", "learning rate of this update", ALL),
    "grad_norm": Meaning("", "norm of the gradient before clipping, mean over the update's optimizer steps", ALL),
    "episode": _online("completions", "sampled so far"),
    "score_mean": _online("reward", "mean score, the rule for a missing EOS included", "something scores"),
    "score_sd": _online("reward", "its standard deviation over the batch", "something scores"),
    "reward/NAME": _online("reward", "mean of one part of the score, before its weight", "`rewards` are given"),
    "bonus_mean": _online("reward", "mean of what the regularizers in the reward added"),
    "rlhf_reward": _online("reward", "mean of score and bonus together"),
    "gold_mean": _online("gold", "mean true reward of the sampled completions", "the task knows it"),
    "kl_ref": _online("nats", "mean of log pi - log pi_ref: the k1 estimate of KL to the reference"),
    "neg_logp_sum": _online("nats", "mean of -log pi(y|x)"),
    "neg_logp_tok": _online("nats per token", "mean of -log pi(y|x) / |y|"),
    "entropy_tok": _online("nats", "exact entropy of a token's distribution, mean over the batch's tokens"),
    "eos_rate": _online("share", "completions that ended by themselves"),
    "len_mean": _online("tokens", "mean |y|, EOS included"),
    "approxkl": _online("nats", "mean of half the squared log-ratio of new and sampling policy, over all minibatches"),
    "kl_prev": _online(
        "nats", "KL from the updated policy to the one that sampled, on this update's rollouts", "`probes` are due"
    ),
    "kl_prev_reverse": _online("nats", "the other direction", "`probes` are due"),
    "ratio_mean": _online("", "mean ratio of a completion's probabilities, new to sampling policy"),
    "ratio_var": _online("", "its variance"),
    "clipfrac": _online("share", "rows (or a row's tokens) whose gradient the clip took", "the loss clips"),
    "sampler_gap": _online("nats", "largest difference of a token's log-probability, sampler to training forward"),
    "coef_I": _online("", "coefficient in force of the regularizer I in the reward", "it moves"),
    "loss_coef_I": _online("", "coefficient in force of the regularizer I in the loss", "it moves"),
    "loss/NAME": _online("", "mean of a regularizer's part of the loss", "`loss_regularizers` are given"),
    "rewards_chosen": _offline("", "implicit reward of the chosen (or best) completion, mean"),
    "rewards_rejected": _offline("", "implicit reward of the rejected (or worst) completion, mean"),
    "rewards_margin": _offline("", "their difference, mean"),
    "rewards_acc": Meaning(
        "share",
        "pairs whose chosen completion has the greater reward, a tie counting as half",
        ("offline", "reward_model"),
    ),
    "logps_chosen_sum": _offline("nats", "mean of log pi(y_w|x)"),
    "logps_chosen_mean": _offline("nats per token", "mean of log pi(y_w|x) / |y_w|"),
    "logps_rejected_sum": _offline("nats", "mean of log pi(y_l|x)"),
    "logps_rejected_mean": _offline("nats per token", "mean of log pi(y_l|x) / |y_l|"),
    "ref_margin": _offline("nats", "mean of log pi_ref(y_w|x) - log pi_ref(y_l|x)", "the reference was asked"),
    "logits_chosen": _offline("", "mean logit at the chosen completion's tokens, over tokens and vocabulary"),
    "logits_rejected": _offline("", "the same of the rejected completion"),
    "nonfinite": Meaning("", "names of what was not finite at this update, and so is absent", ALL, "there are such"),
}
"""`metrics.jsonl`: a line an update. Only numbers that a repetition gives again to the last bit."""

_POLICIES = ("sft", "online", "offline")
_TRAINED = ("online", "offline")
_PAIRS = ("reward_model", "offline")
_SCORED = ("reward_model",)
_JUDGED = "completions are judged"
_KNOWN = "the task knows it"
_GOLD = "gold is known of the pairs"
_CLEAR = "gold, or else the label, prefers one completion of some pair"
_REFERENCES = "there are references"
_PLACE: dict[str, Meaning] = {
    "step": Meaning("updates", "the checkpoint", ALL),
    "split": Meaning("", "prompts of `tuning`, `test`, `holdout` or `evaluation`", ALL),
    "judge": Meaning("", "`gold`, `reward_model`, `none`, or `pairs` for held-out preferences", ALL),
    "n": Meaning("", "prompts judged, or held-out pairs or rankings", ALL),
}

EVALUATIONS: dict[str, Meaning] = _PLACE | {
    "prompt_set": Meaning("", "equal where prompts and references are equal", _POLICIES),
    "wins": Meaning("", "completions better than their reference", _POLICIES, _JUDGED),
    "ties": Meaning("", "completions as good as their reference", _POLICIES, _JUDGED),
    "invalid": Meaning("", "completions not judged", _POLICIES, _JUDGED),
    "win_rate": Meaning("share", "wins and half the ties, of n", _POLICIES, _JUDGED),
    "win_rate_low": Meaning("share", "lower end of its 95 % Wilson interval", _POLICIES, _JUDGED),
    "win_rate_high": Meaning("share", "upper end", _POLICIES, _JUDGED),
    "win_difference": Meaning("share", "win rate less that of the first evaluation, paired", _POLICIES, _JUDGED),
    "win_difference_se": Meaning("share", "its standard error", _POLICIES, _JUDGED),
    "proxy_mean": Meaning("reward", "mean score of the reward model on greedy completions", _POLICIES, "it is given"),
    "gold_mean": Meaning("gold", "mean true reward of greedy completions", _POLICIES, _KNOWN),
    "len_mean": Meaning("tokens", "mean length of greedy completions", _POLICIES),
    "eos_rate": Meaning("share", "greedy completions that ended by themselves", _POLICIES),
    "kl_ref": Meaning("nats", "KL to the reference, on one sample a prompt with the same draws each time", _TRAINED),
    "ref_summary_logp_sum": Meaning("nats", "log-probability of fixed references at T = 1", _POLICIES, _REFERENCES),
    "ref_summary_logp_mean": Meaning("nats per token", "the same per token", _POLICIES, _REFERENCES),
}
"""`evaluations.jsonl`: a line for each checkpoint. Absent values are null or not there."""

PAIR_EVALUATIONS: dict[str, Meaning] = _PLACE | {
    "accuracy": Meaning("share", "held-out pairs ordered as labelled, a tie counting as half", _PAIRS),
    "margin": Meaning("", "mean difference of their rewards, implicit or scored", _PAIRS),
    "score_mean": Meaning("reward", "mean score of held-out completions", _SCORED),
    "score_sd": Meaning("reward", "its standard deviation", _SCORED),
    "gold_agreement": Meaning(
        "share", "held-out pairs ordered as gold orders them, a tie counting as half", _SCORED, _GOLD
    ),
    "label_ceiling": Meaning("share", "what their noisy labels reach", _SCORED, _GOLD),
    "agreement_ratio": Meaning("", "agreement over ceiling", _SCORED, _GOLD),
    "baseline_length_agreement": Meaning(
        "share", "held-out pairs that counting characters orders as gold, else labels, do", _SCORED, _CLEAR
    ),
    "baseline_words_agreement": Meaning("share", "the same of counting different words", _SCORED, _CLEAR),
    "baseline_content_agreement": Meaning(
        "share", "the same of counting different words that few training completions have", _SCORED, _CLEAR
    ),
    "baseline_difference": Meaning(
        "share", "what the model orders right beyond the count nearest to it", _SCORED, _CLEAR
    ),
    "baseline_difference_se": Meaning("share", "its standard error, paired over the records", _SCORED, _CLEAR),
    "above_baselines": Meaning("standard errors", "the difference in these: the least of all counts", _SCORED, _CLEAR),
}
"""`evaluations.jsonl`, lines of judge `pairs`; those of an offline run hold its metrics on held-out pairs, too."""

SAMPLES: dict[str, str] = {
    "step": "the checkpoint",
    "prompt_id": "of the prompt, unique in its data",
    "split": "as in the evaluations",
    "judge": "as in the evaluations",
    "prompt": "text",
    "reference": "text, null without one",
    "completion": "text of the greedy completion",
    "ended": "whether EOS followed it",
    "proxy": "the reward model's score",
    "gold": "the true reward",
    "reference_gold": "the reference's",
    "outcome": "1 a win, 0.5 a tie, 0 a loss against the reference",
    "length": "tokens, EOS included",
    "logp": "log-probability under the policy, nats",
}
"""`samples/step-N.parquet`: a row for each evaluated prompt."""


def meaning(name: str, legend: Legend) -> Meaning | None:
    """The entry of a recorded name; `coef_0` is of `coef_I`, `loss/k2` of `loss/NAME`."""
    for pattern, entry in legend.items():
        expression = re.escape(pattern).replace("NAME", ".+").replace("_I", r"_\d+")
        if re.fullmatch(expression, name):
            return entry
    return None


def violations(stage: str, metrics: Iterable[Row], evaluations: Iterable[Row]) -> list[str]:
    """What the lines of a run lack of what its stage always writes, and what they hold that nothing here explains."""
    judged = list(evaluations)
    pairs = [row for row in judged if row.get("judge") == "pairs"]
    return [
        *_violations(stage, metrics, METRICS, {}),
        *_violations(stage, [row for row in judged if row not in pairs], EVALUATIONS, {}),
        *_violations(stage, pairs, PAIR_EVALUATIONS, METRICS if stage == "offline" else {}),
    ]


def _violations(stage: str, rows: Iterable[Row], legend: Legend, also: Legend) -> list[str]:
    promised = {name for name, entry in legend.items() if stage in entry.stages and not entry.condition}
    found = []
    for row in rows:
        found += [f"step {row.get('step')}: {name} is missing" for name in sorted(promised - set(row))]
        for name in row:
            entry = meaning(name, legend) or meaning(name, also)
            if entry is None or stage not in entry.stages:
                found.append(f"step {row.get('step')}: {name} has no meaning in stage {stage}")
    return found

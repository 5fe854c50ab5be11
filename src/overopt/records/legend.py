"""What the numbers in a run directory mean: name, unit and definition, by file and stage.

The reference page of the documentation is generated from here, and tests hold runs to it: a stage records what is
promised here, and nothing that is not explained here. Log-probabilities are nats, summed over the tokens of a sequence
unless said otherwise; those of the policy are at the sampling temperature.
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
    """One recorded number. `condition` says when it is recorded; empty: always, in the named stages."""

    unit: str
    text: str
    stages: tuple[str, ...]
    condition: str = ""


Legend = Mapping[str, Meaning]


_POLICIES = ("sft", "online", "offline")
_TRAINED = ("online", "offline")
_PAIRS = ("reward_model", "offline")
_SCORED = ("reward_model",)
_JUDGED = "completions are judged"
_KNOWN = "the task has a gold reward"
_GOLD = "the pairs have gold rewards"
_CLEAR = "gold, or else the labels, prefer one completion of some pair"
_REFERENCES = "there are references"
_MARGIN = "the loss needs a reference"
_LATER = "`overopt evaluate` wrote the line"
_ASKED = "a language model judges, by `overopt evaluate`"
_SERVER = "`sampler: vllm`"
_CORRECTED = "`sampler.correction` is given"


def _online(unit: str, text: str, condition: str = "") -> Meaning:
    return Meaning(unit, text, ("online",), condition)


def _offline(unit: str, text: str, condition: str = "") -> Meaning:
    return Meaning(unit, text, ("offline",), condition)


METRICS: dict[str, Meaning] = {
    "step": Meaning("updates", "number of the update that the line is about, from 1", ALL),
    "loss": Meaning("", "the loss that was minimized, mean over the batch", ALL),
    "lr": Meaning("", "learning rate of this update", ALL),
    "grad_norm": Meaning("", "norm of the gradient before clipping, mean over the update's optimizer steps", ALL),
    "episode": _online("completions", "completions sampled so far"),
    "score_mean": _online(
        "reward", "mean score of the batch's completions, the missing-EOS rule applied", "something scores"
    ),
    "score_sd": _online("reward", "standard deviation of these scores", "something scores"),
    "reward/NAME": _online("reward", "mean of one of the `rewards`, before its weight", "`rewards` are given"),
    "bonus_mean": _online("reward", "mean per completion of what the regularizers add to the reward"),
    "rlhf_reward": _online("reward", "mean of score plus bonus: the reward that is maximized"),
    "gold_mean": _online("gold", "mean true (gold) reward of the sampled completions", "the task has a gold reward"),
    "kl_ref": _online(
        "nats per sequence",
        "KL(pi || pi_ref), k1 estimate: log pi(y|x) - log pi_ref(y|x) summed over a completion's tokens, EOS included, "
        "mean over the batch's completions",
    ),
    "neg_logp_sum": _online("nats per sequence", "mean of -log pi(y|x), summed over a completion's tokens"),
    "neg_logp_tok": _online("nats per token", "mean over completions of -log pi(y|x) / |y|"),
    "entropy_tok": _online(
        "nats per token", "exact entropy of the next-token distribution, mean over all tokens of the batch"
    ),
    "eos_rate": _online("share", "completions that end with EOS within the token limit"),
    "len_mean": _online("tokens", "mean length |y| of a completion, EOS included"),
    "approxkl": _online(
        "nats per sequence",
        "half the squared log-ratio log pi(y|x) - log pi_old(y|x) of the policy in training and the one that sampled, "
        "mean over the rows of all minibatches",
    ),
    "kl_prev": _online(
        "nats per sequence",
        "KL(pi_new || pi_old) between the policies after and before this update, on its rollouts",
        "`probes` are due",
    ),
    "kl_prev_reverse": _online("nats per sequence", "KL(pi_old || pi_new), on the same rollouts", "`probes` are due"),
    "ratio_mean": _online("", "mean of pi(y|x) / pi_old(y|x) over whole completions"),
    "ratio_var": _online("", "variance of that ratio"),
    "clipfrac": _online("share", "completions (or tokens) whose gradient the clipping removes", "the loss clips"),
    "sampler_gap": _online(
        "nats per token",
        "largest absolute difference between a token's old log-probability (the sampler's; in bf16 one computed again) "
        "and that of the first training forward pass; with `sampler: vllm` between the server's log-probability and "
        "the old one, which the trainer computes",
    ),
    "sampler_gap_mean": _online("nats per token", "mean absolute difference of the same two", _SERVER),
    "sampler_kl": _online(
        "nats per sequence",
        "KL(mu || pi_old), k1 estimate, of the policy as the server computes it and as the trainer does",
        _SERVER,
    ),
    "weights_version": _online(
        "updates", "updates made to the weights from which the server sampled, as it confirmed", _SERVER
    ),
    "importance_mean": _online("", "mean weight min(pi_old(y|x) / mu(y|x), cap) of a completion", _CORRECTED),
    "importance_min": _online("", "least of these weights", _CORRECTED),
    "importance_max": _online("", "greatest of these weights", _CORRECTED),
    "importance_truncated": _online("share", "completions whose weight is the cap", _CORRECTED),
    "coef_I": _online("", "current coefficient of `regularizers.I`", "that coefficient varies"),
    "loss_coef_I": _online("", "current coefficient of `loss_regularizers.I`", "that coefficient varies"),
    "loss/NAME": _online("", "mean of a loss regularizer's part of the loss", "`loss_regularizers` are given"),
    "rewards_chosen": _offline("", "mean implicit reward (the loss's own) of the chosen, or best, completion"),
    "rewards_rejected": _offline("", "mean implicit reward of the rejected, or worst, completion"),
    "rewards_margin": _offline("", "mean of chosen less rejected implicit reward"),
    "rewards_acc": Meaning(
        "share", "pairs whose chosen completion has the greater reward; a tie counts one half", _PAIRS
    ),
    "logps_chosen_sum": _offline("nats per sequence", "mean of log pi(y_w|x) of the chosen completion"),
    "logps_chosen_mean": _offline("nats per token", "mean of log pi(y_w|x) / |y_w|"),
    "logps_rejected_sum": _offline("nats per sequence", "mean of log pi(y_l|x) of the rejected completion"),
    "logps_rejected_mean": _offline("nats per token", "mean of log pi(y_l|x) / |y_l|"),
    "ref_margin": _offline("nats per sequence", "mean of log pi_ref(y_w|x) - log pi_ref(y_l|x)", _MARGIN),
    "ref_margin_sd": _offline("nats per sequence", "standard deviation of that margin over the batch", _MARGIN),
    "ref_margin_iqr": _offline("nats per sequence", "interquartile range of that margin over the batch", _MARGIN),
    "logits_chosen": _offline("", "mean logit over the chosen completion's tokens and the vocabulary"),
    "logits_rejected": _offline("", "mean logit over the rejected completion's tokens and the vocabulary"),
    "nonfinite": Meaning("", "names of metrics that were NaN or infinite, and are left out", ALL, "there are any"),
}
"""`metrics.jsonl`: one line per update, deterministic values only: a repetition gives the same bits."""

_PLACE: dict[str, Meaning] = {
    "step": Meaning("updates", "step of the evaluated checkpoint", ALL),
    "split": Meaning("", "which prompts: `tuning`, `test`, `holdout` or `evaluation`", ALL),
    "judge": Meaning(
        "", "`gold`, `reward_model`, `none`, the id of another judge, or `pairs` for held-out preferences", ALL
    ),
    "n": Meaning("", "number of prompts judged, or of held-out pairs or rankings", ALL),
}

EVALUATIONS: dict[str, Meaning] = _PLACE | {
    "prompt_set": Meaning("", "hash of prompts and references: equal where these are equal", _POLICIES),
    "wins": Meaning("", "number of completions better than their reference", _POLICIES, _JUDGED),
    "ties": Meaning("", "number of completions as good as their reference", _POLICIES, _JUDGED),
    "invalid": Meaning("", "completions without a valid verdict, also if they count as lost", _POLICIES, _JUDGED),
    "win_rate": Meaning("share", "mean outcome: a win counts 1, a tie 1/2, a loss 0", _POLICIES, _JUDGED),
    "win_rate_low": Meaning(
        "share",
        "lower end of the win rate's 95 % interval: Wilson's; where a language model judges, one that counts ties",
        _POLICIES,
        _JUDGED,
    ),
    "win_rate_high": Meaning("share", "upper end of that interval", _POLICIES, _JUDGED),
    "win_difference": Meaning(
        "share", "win rate less that of the run's first evaluation, paired over prompts", _POLICIES, _JUDGED
    ),
    "win_difference_se": Meaning("share", "standard error of that difference", _POLICIES, _JUDGED),
    "proxy_mean": Meaning(
        "reward", "mean reward-model score of the greedy completions", _POLICIES, "there is a reward model"
    ),
    "gold_mean": Meaning("gold", "mean true (gold) reward of the greedy completions", _POLICIES, _KNOWN),
    "len_mean": Meaning("tokens", "mean length of the greedy completions, EOS included", _POLICIES),
    "eos_rate": Meaning("share", "greedy completions that end with EOS within the token limit", _POLICIES),
    "kl_ref": Meaning(
        "nats per sequence",
        "KL(pi || pi_ref), k1 estimate on one sampled completion per prompt, the same random draws at every evaluation",
        _TRAINED,
    ),
    "ref_summary_logp_sum": Meaning(
        "nats per sequence", "mean log pi(reference|x) at temperature 1", _POLICIES, _REFERENCES
    ),
    "ref_summary_logp_mean": Meaning(
        "nats per token", "mean of log pi(reference|x) / |reference|", _POLICIES, _REFERENCES
    ),
    "judge_hash": Meaning(
        "",
        "hash of everything that can change a judgement; lines of different hashes are never mixed",
        _POLICIES,
        _LATER,
    ),
    "judge_prompt": Meaning("", "name of the judge's prompt", _POLICIES, _ASKED),
    "judge_prompt_hash": Meaning("", "hash of that prompt", _POLICIES, _ASKED),
    "against": Meaning(
        "", "`reference`, or the name of the run whose completions stand in the references' place", _POLICIES, _LATER
    ),
    "max_completion_tokens": Meaning("tokens", "limit on the length of the completions", _POLICIES, _LATER),
    "date": Meaning("", "UTC time of the evaluation, ISO 8601", _POLICIES, _LATER),
    "losses": Meaning("", "number of completions worse than their reference", _POLICIES, _LATER),
    "win_rate_invalid_as_loss": Meaning(
        "share", "win rate if a comparison without a verdict counts as a loss", _POLICIES, _LATER
    ),
    "win_rate_short": Meaning(
        "share", "win rate of the shortest third of the completions, by tokens", _POLICIES, _LATER
    ),
    "win_rate_middle": Meaning("share", "win rate of the middle third by length", _POLICIES, _LATER),
    "win_rate_long": Meaning("share", "win rate of the longest third", _POLICIES, _LATER),
    "win_rate_length_controlled": Meaning(
        "share",
        "win rate at equal lengths: logistic regression on the difference in characters; absent unless a tenth of the "
        "completions are no longer than the other side's, and a tenth no shorter",
        _POLICIES,
        _LATER,
    ),
    "first_position_rate": Meaning(
        "share", "valid replies for the completion that stands first; a tie counts 1/2", _POLICIES, _ASKED
    ),
    "order_consistency": Meaning(
        "share", "comparisons with the same verdict in both orders, of those with two valid replies", _POLICIES, _ASKED
    ),
    "judges_disagree": Meaning(
        "share", "comparisons on which judges that were joined differ", _POLICIES, "several judges are joined"
    ),
}
"""`evaluations.jsonl` and `evaluations/JUDGE.jsonl`: one line per checkpoint. An absent value is null or left out."""

PAIR_EVALUATIONS: dict[str, Meaning] = _PLACE | {
    "accuracy": Meaning(
        "share", "held-out pairs whose chosen completion has the greater reward; a tie counts one half", _PAIRS
    ),
    "margin": Meaning("", "mean of chosen less rejected reward, implicit or of the reward model", _PAIRS),
    "score_mean": Meaning("reward", "mean score of the held-out completions", _SCORED),
    "score_sd": Meaning("reward", "standard deviation of these scores", _SCORED),
    "gold_agreement": Meaning(
        "share", "held-out pairs that the model orders as the gold reward does; a tie counts one half", _SCORED, _GOLD
    ),
    "label_ceiling": Meaning(
        "share", "agreement of the noisy labels with gold: what a perfect fit of them would reach", _SCORED, _GOLD
    ),
    "agreement_ratio": Meaning("", "gold_agreement / label_ceiling", _SCORED, _GOLD),
    "baseline_length_agreement": Meaning(
        "share", "held-out pairs that the number of characters orders as gold does, or else the labels", _SCORED, _CLEAR
    ),
    "baseline_words_agreement": Meaning("share", "the same for the number of different words", _SCORED, _CLEAR),
    "baseline_content_agreement": Meaning(
        "share", "the same for the number of different words that few training completions contain", _SCORED, _CLEAR
    ),
    "baseline_difference": Meaning(
        "share", "the model's agreement less that of the baseline it beats least clearly", _SCORED, _CLEAR
    ),
    "baseline_difference_se": Meaning("share", "standard error of that, paired over records", _SCORED, _CLEAR),
    "above_baselines": Meaning(
        "standard errors", "baseline_difference / baseline_difference_se: the least over all baselines", _SCORED, _CLEAR
    ),
}
"""`evaluations.jsonl`, lines with judge `pairs`; those of an offline run also hold its metrics on held-out pairs."""

SAMPLES: dict[str, str] = {
    "step": "step of the checkpoint",
    "prompt_id": "identifier of the prompt, unique within its data",
    "split": "as in the evaluations",
    "judge": "as in the evaluations",
    "prompt": "text of the prompt",
    "reference": "text of the reference, null without one",
    "completion": "text of the greedy completion",
    "ended": "whether the completion ended with EOS",
    "proxy": "score of the reward model",
    "gold": "true (gold) reward of the completion",
    "reference_gold": "gold reward of the reference",
    "outcome": "1 for a win against the reference, 0.5 for a tie, 0 for a loss",
    "length": "tokens of the completion, EOS included",
    "logp": "log pi(completion|prompt), summed over its tokens, nats",
    "against": "null: compared with the reference; else the name of the run whose completion stands in its place",
    "max_completion_tokens": "limit on the completion's tokens; null: the run's own",
}
"""`samples/step-N.parquet`: one row per evaluated prompt, judge, other side and limit."""

JUDGEMENTS: dict[str, str] = {
    "step": "step of the checkpoint",
    "split": "as in the samples",
    "prompt_id": "as in the samples",
    "judge": "as in the evaluations",
    "judge_hash": "as in the evaluations",
    "prompt_name": "name of the judge's prompt",
    "prompt_hash": "hash of that prompt",
    "against": "as in the samples",
    "max_completion_tokens": "as in the samples",
    "ours_position": "where the run's completion stood: `A`, first, or `B`",
    "raw_reply": "the language model's reply",
    "verdict": "`ours`, `reference`, `tie` or `invalid`",
    "attempts": "how many replies were asked for, all but the last of them invalid",
    "date": "UTC time of the reply, ISO 8601",
}
"""`judgements/step-N.parquet`: one row per reply of a language model that judges."""


def meaning(name: str, legend: Legend) -> Meaning | None:
    """Look up a recorded name: `coef_0` is found under `coef_I`, `loss/k2` under `loss/NAME`; None if unknown."""
    for pattern, entry in legend.items():
        expression = re.escape(pattern).replace("NAME", ".+").replace("_I", r"_\d+")
        if re.fullmatch(expression, name):
            return entry
    return None


def violations(stage: str, metrics: Iterable[Row], evaluations: Iterable[Row]) -> list[str]:
    """List the names that a stage always records and a line lacks, and the names that have no entry here."""
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

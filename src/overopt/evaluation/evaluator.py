"""Evaluates policies on the same prompts, so that differences between them are paired over prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from overopt.engine.head import logps_of_trees
from overopt.engine.packing import Tree
from overopt.engine.sampler import DrawKey, Samples, sample_in_batches
from overopt.evaluation.judges.scores import Judge, outcomes
from overopt.models.policy import Policy
from overopt.models.scorer import Scorer
from overopt.models.text import Codec
from overopt.statistics import paired_difference, wilson
from overopt.tasks.base import TaskProtocol
from overopt.types import Completion, PromptRecord

REFERENCE_SUMMARIES = 256
"""Number of references whose log-probability under the policy is recorded (`ref_summary_logp_sum`)."""

Row = dict[str, Any]


@dataclass
class Evaluator:
    """Judges policies on fixed prompts: returns a row for `evaluations.jsonl` and one row per prompt for the samples.

    The first evaluation, of the policy that training starts from, is the baseline of the paired differences.
    """

    task: TaskProtocol
    codec: Codec
    split: str
    records: Sequence[PromptRecord]
    seed: int
    max_completion_tokens: int
    temperature: float
    judge: Judge = "gold"
    scorer: Scorer | None = None
    reference: Policy | None = None
    baseline_outcomes: list[float | None] | None = None
    encoded: list[Tree] = field(init=False)
    """Prompts and, where there is one, their references."""
    prompts: list[Sequence[int]] = field(init=False)
    reference_trees: list[Tree] = field(init=False)
    reference_scores: list[float | None] | None = field(init=False)
    """The judge's scores of the references; None: the reward model has not been asked yet."""

    def __post_init__(self) -> None:
        references = [None if r.reference is None else Completion(r.reference) for r in self.records]
        known_texts = [[] if completion is None else [completion] for completion in references]
        self.encoded = [Tree(*row) for row in self.codec.encode(self.records, known_texts)]
        self.prompts = [tree.prompt for tree in self.encoded]
        self.reference_trees = [tree for tree in self.encoded if tree.completions][:REFERENCE_SUMMARIES]
        self.reference_scores = None
        if self.judge != "reward_model":
            gold = self.task.gold if self.judge == "gold" else lambda record, completion: None
            self.reference_scores = [
                None if completion is None else gold(record, completion)
                for record, completion in zip(self.records, references, strict=True)
            ]

    @property
    def prompt_set(self) -> str:
        """Hash of prompts and references: equal where these are equal."""
        text = "\x1e".join(f"{r.prompt_id}\x1f{r.prompt}\x1f{r.reference}" for r in self.records)
        return sha256(text.encode()).hexdigest()[:12]

    def evaluate(self, policy: Policy, step: int, token_budget: int) -> tuple[Row, list[Row]]:
        """Complete every prompt greedily, judge the completions, and measure the KL to the reference.

        `token_budget` is the size of a micro-batch. An evaluation that raises leaves no trace.
        """
        reference_scores = self._reference_scores(token_budget)
        samples = self._sample(policy, 0.0, "greedy", token_budget)
        tokens = samples.completions()
        completions = [self.codec.decode(row, record) for row, record in zip(tokens, self.records, strict=True)]
        trees = [Tree(prompt, [row]) for prompt, row in zip(self.prompts, tokens, strict=True)]
        proxy = self._proxy(self.records, completions, trees, token_budget)
        gold = [self.task.gold(record, c) for record, c in zip(self.records, completions, strict=True)]
        judged = {"gold": gold, "reward_model": proxy, "none": None}[self.judge] or [None] * len(tokens)
        results = outcomes(judged, reference_scores)
        rows = [
            {
                "prompt_id": record.prompt_id,
                "split": self.split,
                "judge": self.judge,
                "prompt": record.prompt,
                "reference": record.reference,
                "completion": completion.text,
                "ended": completion.ended,
                "proxy": None if proxy is None else proxy[i],
                "gold": gold[i],
                "reference_gold": reference_scores[i] if self.judge == "gold" else None,
                "outcome": results[i],
                "length": len(tokens[i]),
                "logp": float(samples.logp_BT[i].sum()),
            }
            for i, (record, completion) in enumerate(zip(self.records, completions, strict=True))
        ]
        row = {"step": step, "split": self.split, "judge": self.judge, "prompt_set": self.prompt_set}
        measured = self._distance(policy, token_budget) | self._reference_logp(policy, token_budget)
        row |= self._win_rate(results) | _means(rows) | measured
        return row, rows

    def _sample(self, policy: Policy, temperature: float, purpose: str, token_budget: int) -> Samples:
        """Draw one completion of each prompt, with the same random numbers at every evaluation."""
        ids, key = [record.prompt_id for record in self.records], DrawKey(self.seed, purpose, 0)
        return sample_in_batches(
            policy, self.prompts, ids, 1, temperature, self.max_completion_tokens, key, token_budget
        )

    def _reference_scores(self, token_budget: int) -> list[float | None]:
        """Return the judge's score of each prompt's reference; a reward model is run once."""
        if self.reference_scores is None:
            known = [(i, Completion(r.reference)) for i, r in enumerate(self.records) if r.reference is not None]
            records, trees = [self.records[i] for i, _ in known], [self.encoded[i] for i, _ in known]
            scores = self._proxy(records, [completion for _, completion in known], trees, token_budget) or []
            self.reference_scores = [None] * len(self.records)
            for (i, _), score in zip(known, scores, strict=False):  # without a scorer there are no scores
                self.reference_scores[i] = score
        return self.reference_scores

    def _proxy(
        self,
        records: Sequence[PromptRecord],
        completions: Sequence[Completion],
        trees: Sequence[Tree],
        token_budget: int,
    ) -> list[float] | None:
        """Return the reward model's score of each record's completion; None without a reward model."""
        if self.scorer is None or not trees:
            return None
        scores: list[float] = self.scorer.score(records, completions, trees, token_budget).tolist()
        return scores

    def _win_rate(self, results: list[float | None]) -> Row:
        """Return wins, ties, win rate with its Wilson interval, and the paired difference to the baseline."""
        if self.baseline_outcomes is None:
            self.baseline_outcomes = results
        known = [
            (r, b) for r, b in zip(results, self.baseline_outcomes, strict=True) if r is not None and b is not None
        ]
        judged = [r for r in results if r is not None]
        if not judged:
            return {"n": 0}
        wins = sum(judged)
        low, high = wilson(wins, len(judged))
        row = {
            "n": len(judged),
            "wins": judged.count(1.0),
            "ties": judged.count(0.5),
            "invalid": len(results) - len(judged),
            "win_rate": wins / len(judged),
            "win_rate_low": low,
            "win_rate_high": high,
        }
        if known:
            difference, se = paired_difference([r for r, _ in known], [b for _, b in known])
            row |= {"win_difference": difference, "win_difference_se": se}
        return row

    def _distance(self, policy: Policy, token_budget: int) -> Row:
        """Estimate KL(pi || pi_ref), nats per sequence, on one sample per prompt, with the same draws every time."""
        if self.reference is None:
            return {}
        samples = self._sample(policy, self.temperature, "evaluation", token_budget)
        trees = [Tree(p, [row]) for p, row in zip(self.prompts, samples.completions(), strict=True)]
        reference = logps_of_trees(self.reference, trees, self.temperature, token_budget)
        logp_BT = samples.logp_BT
        if policy.bf16:  # bf16 decoding may differ from a forward pass by more than policy and reference do
            logp_BT = logps_of_trees(policy, trees, self.temperature, token_budget).logp_BT
        return {"kl_ref": float((logp_BT.sum(1) - reference.logp_BT.sum(1)).mean())}

    def _reference_logp(self, policy: Policy, token_budget: int) -> Row:
        """Return the mean log-probability of fixed references at temperature 1, summed and per token, nats."""
        if not self.reference_trees:
            return {}
        logps = logps_of_trees(policy, self.reference_trees, 1.0, token_budget)
        sums: Tensor = logps.logp_BT.sum(1)
        return {
            "ref_summary_logp_sum": float(sums.mean()),
            "ref_summary_logp_mean": float((sums / logps.mask_BT.sum(1)).mean()),
        }


def _means(rows: Sequence[Row]) -> Row:
    """Return means over prompts, None for a column with an absent value."""

    def mean(name: str) -> float | None:
        values = [row[name] for row in rows]
        return None if None in values else float(torch.tensor(values, dtype=torch.float64).mean())

    return {
        "proxy_mean": mean("proxy"),
        "gold_mean": mean("gold"),
        "len_mean": mean("length"),
        "eos_rate": mean("ended"),
    }

"""Evaluates policies on the same prompts, so that differences between them are paired over prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal

import torch
from torch import Tensor

from overopt.engine.head import logps_of_trees
from overopt.engine.packing import Tree
from overopt.engine.sampler import DrawKey, Samples, sample_in_batches
from overopt.evaluation.judges.scores import outcomes
from overopt.evaluation.win_rates import Row, win_rate
from overopt.models.policy import Policy
from overopt.models.scorer import Scorer
from overopt.models.text import Codec
from overopt.tasks.base import TaskProtocol
from overopt.types import Completion, PromptRecord

REFERENCE_SUMMARIES = 256
"""Number of references whose log-probability under the policy is recorded (`ref_summary_logp_sum`)."""


@dataclass
class Evaluator:
    """Evaluates policies on fixed prompts: a row for `evaluations.jsonl`, and one row per prompt for the samples.

    Completions are compared with the references by gold if `judge` says so; other judges are asked afterwards, by
    `reevaluation.py`. The first evaluation, of the policy that training starts from, is the baseline of the paired
    differences.
    """

    task: TaskProtocol
    codec: Codec
    split: str
    records: Sequence[PromptRecord]
    seed: int
    max_completion_tokens: int
    temperature: float
    judge: Literal["gold", "none"] = "gold"
    scorer: Scorer | None = None
    reference: Policy | None = None
    baseline_outcomes: list[float | None] | None = None
    encoded: list[Tree] = field(init=False)
    """Prompts and, where there is one, their references."""
    prompts: list[Sequence[int]] = field(init=False)
    reference_trees: list[Tree] = field(init=False)
    reference_gold: list[float | None] = field(init=False)
    """Gold rewards of the references, if gold judges."""

    def __post_init__(self) -> None:
        references = [None if r.reference is None else Completion(r.reference) for r in self.records]
        known_texts = [[] if completion is None else [completion] for completion in references]
        self.encoded = [Tree(*row) for row in self.codec.encode(self.records, known_texts)]
        self.prompts = [tree.prompt for tree in self.encoded]
        self.reference_trees = [tree for tree in self.encoded if tree.completions][:REFERENCE_SUMMARIES]
        self.reference_gold = [
            self.task.gold(record, completion) if self.judge == "gold" and completion is not None else None
            for record, completion in zip(self.records, references, strict=True)
        ]

    @property
    def prompt_set(self) -> str:
        return prompt_set(self.records)

    def evaluate(self, policy: Policy, step: int, token_budget: int) -> tuple[Row, list[Row]]:
        """Complete every prompt greedily, judge the completions, and measure the KL to the reference.

        `token_budget` is the size of a micro-batch. An evaluation that raises leaves no trace.
        """
        samples = self._sample(policy, 0.0, "greedy", token_budget)
        tokens = samples.completions()
        completions = [self.codec.decode(row, record) for row, record in zip(tokens, self.records, strict=True)]
        trees = [Tree(prompt, [row]) for prompt, row in zip(self.prompts, tokens, strict=True)]
        proxy = self._proxy(self.records, completions, trees, token_budget)
        gold = [self.task.gold(record, c) for record, c in zip(self.records, completions, strict=True)]
        results = outcomes(gold, self.reference_gold)
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
                "reference_gold": self.reference_gold[i],
                "outcome": results[i],
                "length": len(tokens[i]),
                "logp": float(samples.logp_BT[i].sum()),
            }
            for i, (record, completion) in enumerate(zip(self.records, completions, strict=True))
        ]
        row = {"step": step, "split": self.split, "judge": self.judge, "prompt_set": self.prompt_set}
        measured = self._distance(policy, token_budget) | self._reference_logp(policy, token_budget)
        row |= self._win_rate(results) | means(rows) | measured
        return row, rows

    def _sample(self, policy: Policy, temperature: float, purpose: str, token_budget: int) -> Samples:
        """Draw one completion of each prompt, with the same random numbers at every evaluation."""
        ids, key = [record.prompt_id for record in self.records], DrawKey(self.seed, purpose, 0)
        return sample_in_batches(
            policy, self.prompts, ids, 1, temperature, self.max_completion_tokens, key, token_budget
        )

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
        """Return the win rate, and its paired difference to the baseline: the first results are that."""
        if self.baseline_outcomes is None:
            self.baseline_outcomes = results
        return win_rate(results, self.baseline_outcomes)

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


def prompt_set(records: Sequence[PromptRecord]) -> str:
    """Return a hash of prompts and references: equal where these are equal."""
    text = "\x1e".join(f"{r.prompt_id}\x1f{r.prompt}\x1f{r.reference}" for r in records)
    return sha256(text.encode()).hexdigest()[:12]


def means(rows: Sequence[Row]) -> Row:
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

"""One step's rollouts: completions sampled from the policy, scored, and compared with the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from overopt.engine.head import logps_of_trees, measured_of_trees
from overopt.engine.packing import Tree
from overopt.engine.sampler import DrawKey, Samples, sample_in_batches
from overopt.models.policy import Policy
from overopt.models.scorer import Scorer
from overopt.models.text import Codec
from overopt.objectives.missing_eos import MissingEOS
from overopt.tasks.base import TaskProtocol
from overopt.training.data import Prompt
from overopt.training.rewards import RewardFunction, add_rewards
from overopt.training.samplers import Compared, SamplesElsewhere
from overopt.types import Completion, Rollouts

SAMPLER_GAP = 1e-3
"""Nats a token; above, old log-probabilities are computed again by the training forward (bf16 decoding would fire the
clip)."""


SamplingRequest = tuple[list[list[int]], list[str], int, float, int, DrawKey]
"""Prompts as tokens, their ids, samples of each, temperature, most tokens, and what the draws depend on."""


@dataclass(frozen=True)
class Experience:
    """One step's rollouts, with the trees they are trained on."""

    trees: list[Tree]
    samples: Samples
    rollouts: Rollouts
    rewards: dict[str, float]
    """Means by name of what the score is the sum of, where functions of the user's are a part of it."""
    weight_B: Tensor | None = None
    """Weights of the rows' losses, where another program sampled and a correction for that is asked for."""
    sampled: dict[str, float] = field(default_factory=dict)
    """Metrics of the sampling, where another program did it."""


@dataclass(frozen=True)
class RolloutWorker:
    """Samples completions, scores them, and takes their log-probabilities under the reference."""

    policy: Policy
    reference: Policy
    scorer: Scorer | None
    """The reward model; None: only `rewards` score."""
    codec: Codec
    task: TaskProtocol
    rewards: Sequence[RewardFunction]
    missing_eos: MissingEOS
    group_size: int
    temperature: float
    max_completion_tokens: int
    seed: int
    steps: int
    """Steps of the whole run."""
    sampler_is_exact: bool = True
    """Whether the log-probabilities captured while sampling serve as the old ones."""
    elsewhere: SamplesElsewhere | None = None
    """Another program that samples; None: the engine."""

    @property
    def scored(self) -> bool:
        """Whether anything scores completions."""
        return self.scorer is not None or bool(self.rewards)

    def collect(self, prompts: Sequence[Prompt], step: int, token_budget: int) -> Experience:
        """Sample completions, score them by proxy and gold, and take their log-probabilities under the reference."""
        return self._collect(prompts, step, self.group_size, self.temperature, "rollouts", token_budget)

    def greedy(self, prompts: Sequence[Prompt], step: int, token_budget: int) -> Rollouts:
        """The greedy completion of each prompt, with everything that its shaped reward takes."""
        return self._collect(prompts, step, 1, 0.0, "greedy", token_budget).rollouts

    def sampler_gap(self, prompt: Prompt, token_budget: int) -> float:
        """Largest difference between log-probabilities of the sampler and of the training forward, on one prompt.

        UserError: another program samples, and not from these weights.
        """
        request = self._request([prompt], 0, 2, self.temperature, "sampler gap")
        if self.elsewhere is None:
            samples = sample_in_batches(self.policy, *request, token_budget)
        else:
            samples = self.elsewhere.sample(*request)
        trees = [Tree(prompt.tokens, samples.completions())]
        forward = logps_of_trees(self.policy, trees, self.temperature, token_budget)
        if self.elsewhere is not None:
            self.elsewhere.compare(samples, forward.logp_BT, self._logp_at(trees, token_budget), 0)
        return float((samples.logp_BT - forward.logp_BT).abs().max())

    def _request(
        self, prompts: Sequence[Prompt], step: int, group_size: int, temperature: float, purpose: str
    ) -> SamplingRequest:
        """What whoever samples is asked for."""
        key = DrawKey(self.seed, purpose, step)
        ids = [p.record.prompt_id for p in prompts]
        return [p.tokens for p in prompts], ids, group_size, temperature, self.max_completion_tokens, key

    def _logp_at(self, trees: Sequence[Tree], token_budget: int) -> Callable[[float], Tensor]:
        return lambda other: logps_of_trees(self.policy, trees, other, token_budget).logp_BT

    def _collect(
        self, prompts: Sequence[Prompt], step: int, group_size: int, temperature: float, purpose: str, token_budget: int
    ) -> Experience:
        request = self._request(prompts, step, group_size, temperature, purpose)
        if self.elsewhere is None:
            samples = sample_in_batches(self.policy, *request, token_budget)
        else:
            samples = self.elsewhere.sample(*request)
        rows = samples.completions()
        trees = [Tree(p.tokens, rows[i * group_size : (i + 1) * group_size]) for i, p in enumerate(prompts)]
        logp_at, logp_BT = self._logp_at(trees, token_budget), samples.logp_BT
        compared: Compared = (None, {})
        if self.elsewhere is not None:  # its log-probabilities are for the record
            logp_BT, entropy_BT = measured_of_trees(self.policy, trees, self.temperature, token_budget)
            if temperature == self.temperature:
                compared = self.elsewhere.compare(samples, logp_BT, logp_at, step)
            samples = replace(samples, entropy_BT=entropy_BT)
        elif not self.sampler_is_exact or temperature != self.temperature:
            logp_BT = logps_of_trees(self.policy, trees, self.temperature, token_budget).logp_BT
        records = [prompts[i // group_size].record for i in range(len(rows))]
        completions = [self.codec.decode(row, record) for row, record in zip(rows, records, strict=True)]
        gold = [self.task.gold(record, completion) for record, completion in zip(records, completions, strict=True)]
        score_B = self._score(prompts, completions, trees, samples.ended_B, token_budget)
        score_B, rewards = add_rewards(self.rewards, score_B, records, completions, self.scorer is not None)
        rollouts = Rollouts(
            logp_BT=logp_BT,
            mask_BT=samples.mask_BT,
            score_B=score_B,
            group_size=group_size,
            temperature=self.temperature,
            ref_logp_BT=logps_of_trees(self.reference, trees, self.temperature, token_budget).logp_BT,
            gold_B=None if None in gold else torch.tensor(gold),
            entropy_BT=samples.entropy_BT,
            max_len=self.max_completion_tokens,
            progress=(step - 1) / self.steps,
            logp_at=logp_at,
        )
        return Experience(trees, samples, rollouts, rewards, *compared)

    def _score(
        self,
        prompts: Sequence[Prompt],
        completions: Sequence[Completion],
        trees: Sequence[Tree],
        ended_B: Tensor,
        token_budget: int,
    ) -> Tensor:
        """The reward model's score after the rule for a missing EOS; 0 without one."""
        if self.scorer is None:
            return torch.zeros(len(ended_B), device=ended_B.device)
        score_B = self.scorer.score([prompt.record for prompt in prompts], completions, trees, token_budget)
        return self.missing_eos(score_B, ended_B)

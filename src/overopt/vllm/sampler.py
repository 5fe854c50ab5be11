"""`sampler: {name: vllm, url: ...}`: gives the server the policy's weights, then samples a step's rollouts there."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from pydantic import AfterValidator, Field
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from overopt.config import Choice, Positive, block
from overopt.engine.sampler import DrawKey, Samples
from overopt.errors import UserError
from overopt.models.policy import Policy
from overopt.vllm.completions import PATH, Drawn, Wanted
from overopt.vllm.importance import TruncatedImportance
from overopt.vllm.server import Server, ServerError, base_url
from overopt.vllm.transfer import NCCL, Channel, Transfer

ROUNDS = 5
"""How often the weights are pushed for one step before a server that loses them is given up."""
Correction = Annotated[TruncatedImportance | None, Choice()]


@block
class VLLM:
    """A vLLM server samples the rollouts; it is given the policy's weights before each step's.

    Old log-probabilities are computed by the trainer; the server's are recorded beside them (`sampler_gap`).
    """

    config_name: ClassVar[str] = "vllm"
    free: ClassVar[frozenset[str]] = frozenset({"url", "concurrency", "timeout", "patience"})
    """Fields that change no number: a run may go on with other ones."""

    url: Annotated[str, AfterValidator(base_url)]
    """Where it listens: `http://localhost:8000`. A key for it is in VLLM_API_KEY."""
    transfer: Transfer = NCCL()
    """How it gets the weights."""
    correction: Correction = None
    """Weights of the completions' losses for what the two engines compute differently; null: none."""
    max_gap: Positive = 0.5
    """Largest mean difference between its log-probabilities and the trainer's, nats a token, before the run ends."""
    concurrency: Annotated[int, Field(gt=0)] = 128
    """Requests under way at once."""
    timeout: Positive = 600.0
    """Seconds of silence after which a request counts as failed."""
    patience: Positive = 900.0
    """Seconds for which requests that fail are sent again, as while the server is started again."""

    def start(self, policy: Policy, longest: int, notice: Callable[[str], None]) -> VLLMSampler:
        """Meet the server, and return the sampler of this policy; `longest`: tokens of prompt and completion."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            raise UserError("sampler: vllm is given weights by one process; with torchrun the engine samples (own)")
        server = Server(self.url, self.timeout, self.patience, notice)
        sampler = VLLMSampler(self, server, policy, self.transfer.open(server, policy))
        sampler.meet(longest)
        return sampler


@dataclass
class VLLMSampler:
    """Samples from a policy by way of a server."""

    config: VLLM
    server: Server
    policy: Policy
    channel: Channel
    run: str = field(default_factory=lambda: os.urandom(4).hex())
    """Tells this process's weights from those that another one gives the same server."""
    pushed: str = ""
    """The version that the server has, as far as known."""
    about: dict[str, str] = field(default_factory=dict)

    def meet(self, longest: int) -> None:
        """Wait for the server, and hold it against the run's limits."""
        with self._explained():
            models = self.server.get("/v1/models")["data"]
            version = self.server.get("/version").get("version")
        limit = models[0].get("max_model_len")
        self.about = {"name": "vllm", "version": str(version), "model": str(models[0]["id"])}
        self.server.notice(f"sampler: vLLM {version} at {self.server.name} serves {models[0]['id']}")
        if limit is not None and limit < longest:
            raise UserError(
                f"sampler: vLLM at {self.server.name} takes {limit:,} tokens, but max_prompt_tokens and "
                f"max_completion_tokens are {longest:,} together; start it with --max-model-len {longest}"
            )

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        prompt_ids: Sequence[str],
        group_size: int,
        temperature: float,
        max_tokens: int,
        key: DrawKey,
    ) -> Samples:
        """Draw completions from the policy's present weights; log-probabilities are the server's, entropies missing.

        Weights that the server has lost meanwhile (it was started again) are pushed anew, and all is sampled again.
        """
        version = f"overopt-{self.run}-{max(0, key.step - 1)}"
        rows = [(i, g) for i in range(len(prompts)) for g in range(group_size)]
        seeds = [key.number(prompt_ids[i], g) % 2**63 for i, g in rows]
        with self._explained():
            for _ in range(ROUNDS):
                self._update(version)
                wanted = Wanted(
                    temperature, max_tokens, self.policy.end_ids, self.policy.vocabulary,
                    self.channel.model(version), version,
                )  # fmt: skip
                ask = self._asking(wanted, [prompts[i] for i, _ in rows], seeds)
                try:
                    drawn = self.server.in_parallel(ask, len(rows), self.config.concurrency)
                except _LostError:
                    drawn = None
                if drawn is not None and self.server.persist(lambda: self.channel.holds(version)):
                    self.server.answered()
                    return _samples(drawn, self.policy.device)
                self.pushed = ""
                self.server.notice(
                    f"sampler: vLLM at {self.server.name} lost the weights of version {max(0, key.step - 1)} (started "
                    "again, or given others); they are pushed once more, and the step's completions sampled again"
                )
        raise self.server.gave_up(
            f"it did not keep the weights it was given, {ROUNDS} times; does another run use the same server?"
        )

    def compare(
        self, samples: Samples, logp_BT: Tensor, logp_at: Callable[[float], Tensor], step: int
    ) -> tuple[Tensor | None, dict[str, float]]:
        """Hold the server's log-probabilities against the trainer's; return the completions' weights, and metrics.

        UserError: they are so far apart that these cannot be the policy's weights.
        """
        gap_BT = (samples.logp_BT - logp_BT).abs()
        mean = float(gap_BT.sum() / samples.mask_BT.sum())
        if not mean <= self.config.max_gap:
            raise self._far(mean, samples, logp_at)
        log_ratio_B = (logp_BT - samples.logp_BT).sum(1)
        metrics = {
            "sampler_gap": float(gap_BT.max()),
            "sampler_gap_mean": mean,
            "sampler_kl": float(-log_ratio_B.mean()),
            "weights_version": float(max(0, step - 1)),
        }
        if self.config.correction is None:
            return None, metrics
        weight_B = self.config.correction(log_ratio_B)
        metrics |= {
            "importance_mean": float(weight_B.mean()),
            "importance_min": float(weight_B.min()),
            "importance_max": float(weight_B.max()),
            "importance_truncated": float((log_ratio_B.exp() > self.config.correction.cap).float().mean()),
        }
        return weight_B, metrics

    def _far(self, mean: float, samples: Samples, logp_at: Callable[[float], Tensor]) -> UserError:
        at_one = float((samples.logp_BT - logp_at(1.0)).abs().sum() / samples.mask_BT.sum())
        why = "are these the policy's weights? (sampler.max_gap is the limit)"
        if at_one < mean / 4:
            why = "it reports them before the temperature is applied: start it with --logprobs-mode processed_logprobs"
        return UserError(
            f"sampler: vLLM at {self.server.name}: its log-probabilities are {mean:.2g} nats a token from the "
            f"trainer's; {why}"
        )

    def _update(self, version: str) -> None:
        """Push the weights, unless the server has this version."""
        if self.pushed == version:
            return
        self.pushed = ""

        def push() -> None:
            self.channel.push(version)
            if not self.channel.holds(version):
                raise ServerError("it says that it has other weights than it was just given", passing=True)

        self.server.persist(push)
        self.pushed = version

    def _asking(self, wanted: Wanted, prompts: Sequence[Sequence[int]], seeds: Sequence[int]) -> Callable[[int], Drawn]:
        def ask(i: int) -> Drawn:
            try:
                return self.server.persist(
                    lambda: wanted.read(self.server.once("POST", PATH, wanted.body(prompts[i], seeds[i])), prompts[i])
                )
            except ServerError as error:
                if error.status == 404 and wanted.model is not None:
                    raise _LostError from None
                raise

        return ask

    def _explained(self) -> _Explained:
        return _Explained(self.server, self.config.transfer.needs)


class _LostError(Exception):
    """The server does not know the adapter any more."""


class _Explained:
    """A context in which what a server refuses becomes an error in the user's terms."""

    def __init__(self, server: Server, hint: str) -> None:
        self.server, self.hint = server, hint

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ServerError):
            hint = ""
            if error.status in (404, 405):
                hint = f"; {self.hint}"
            raise self.server.gave_up(f"{error}{hint}") from None


def _samples(drawn: Sequence[Drawn], device: torch.device) -> Samples:
    """The completions as padded rows."""
    tokens_BT = pad_sequence([torch.tensor(row.tokens) for row in drawn], batch_first=True)
    length_B = torch.tensor([len(row.tokens) for row in drawn])
    logp_BT = pad_sequence([torch.tensor(row.logps) for row in drawn], batch_first=True)
    mask_BT = torch.arange(tokens_BT.shape[1]) < length_B[:, None]
    ended_B = torch.tensor([row.ended for row in drawn])
    return Samples(tokens_BT.to(device), mask_BT.to(device), logp_BT.to(device), None, ended_B.to(device))

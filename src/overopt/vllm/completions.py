"""One completion of one prompt: what `/v1/completions` is asked, and what its answer must hold."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from overopt.vllm.server import ServerError

PATH = "/v1/completions"


@dataclass(frozen=True)
class Drawn:
    """A sampled completion, as token ids."""

    tokens: list[int]
    """With the end token, if it ended."""
    logps: list[float]
    """Log-probability of each, nats, as the server computed it."""
    ended: bool


@dataclass(frozen=True)
class Wanted:
    """What is asked of each completion of a call."""

    temperature: float
    """0 is greedy."""
    max_tokens: int
    end_ids: Collection[int]
    vocabulary: int
    """Ids below this exist."""
    model: str | None
    """The adapter to sample from; None: the model that is served."""
    salt: str
    """Which weights: what one version has cached of a prompt is of no use to another."""

    def body(self, prompt: Sequence[int], seed: int) -> dict[str, Any]:
        """Return a request. It names every setting that a model's generation_config would else decide."""
        named = {} if self.model is None else {"model": self.model}
        return named | {
            "prompt": list(prompt),
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": seed,
            "n": 1,
            "top_p": 1.0,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "ignore_eos": True,  # the policy's own end tokens decide, which may be others than the server's
            "stop_token_ids": sorted(self.end_ids),
            "logprobs": 0,
            "return_token_ids": True,
            "add_special_tokens": False,
            "cache_salt": self.salt,
        }

    def read(self, answer: Any, prompt: Sequence[int]) -> Drawn:
        """Return the completion in an answer; ServerError if it is half of one, or not what was asked for."""
        try:
            (choice,) = answer["choices"]
            tokens, logps = choice["token_ids"], choice["logprobs"]["token_logprobs"]
            asked, reason = choice["prompt_token_ids"], choice["finish_reason"]
        except (KeyError, TypeError, ValueError) as error:
            said = f"half an answer: no {error} in it" if isinstance(error, KeyError) else "half an answer"
            raise ServerError(f"{said} (token ids take vLLM 0.10.2 or later)", passing=True) from None
        self._check(tokens, logps, reason)
        if asked is not None and list(asked) != list(prompt):
            raise ServerError("the server changed the prompt's token ids", passing=False)
        return Drawn(list(tokens), [float(x) for x in logps], reason == "stop")

    def _check(self, tokens: Any, logps: Any, reason: Any) -> None:
        """Refuse a completion that a policy with these end tokens and this limit cannot have given."""
        if reason not in ("stop", "length"):  # `abort`, or none: whoever else uses the server stopped it
            raise ServerError(f"the completion was broken off ({reason})", passing=True)
        if not isinstance(tokens, list) or not isinstance(logps, list) or not 0 < len(tokens) == len(logps):
            raise ServerError("half an answer: tokens and log-probabilities are not as many", passing=True)
        if not all(type(token) is int and 0 <= token < self.vocabulary for token in tokens):
            raise ServerError(
                f"it samples ids beyond the policy's {self.vocabulary:,}: another model is served", passing=False
            )
        if not all(isinstance(x, int | float) and math.isfinite(x) for x in logps):
            raise ServerError("a log-probability is not a number: broken weights, or an old vLLM", passing=False)
        ends = [token in self.end_ids for token in tokens]
        whole = len(tokens) <= self.max_tokens and not any(ends[:-1]) and ends[-1] == (reason == "stop")
        if not whole or (reason == "length" and len(tokens) != self.max_tokens):
            raise ServerError(
                f"a completion of {len(tokens)} tokens with finish_reason {reason!r}, but max_tokens is "
                f"{self.max_tokens} and only ids {sorted(self.end_ids)} end one: is --max-model-len too short?",
                passing=False,
            )

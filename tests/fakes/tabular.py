"""A policy that is a table, a reward that is a table, and a task of two prompts whose completions can be enumerated.

The policy has a logit for every prefix and next token, free of each other, so that it can be any distribution over
completions of up to three tokens. It is an ordinary folder to `AutoModelForCausalLM`: a body without parameters that
tells which prefix a token ends, and a linear head over that, which is the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutput, SequenceClassifierOutput

from overopt.config import block
from overopt.models.body import silence_transformers
from overopt.models.text import word_tokenizer
from overopt.types import Completion, Dropped, PreferenceRecord, PromptRecord

WORDS = ["<pad>", "<eos>", "a", "b"]
PAD, EOS, LETTERS = 0, 1, (2, 3)
PROMPTS = LETTERS
"""A prompt is one letter. After the first a completion may end at once, after the second it has three tokens."""
LONGEST = 3
BASE = len(WORDS) + 1
PREFIXES = BASE ** (1 + LONGEST)
NEVER = -40.0
"""A logit that is not drawn in a lifetime, and whose gradient is as small."""

Tokens = tuple[int, ...]


def code(prefix: Tokens) -> int:
    """The number of a prefix, prompt included: its tokens as digits."""
    return sum((token + 1) * BASE**place for place, token in enumerate(prefix)) % PREFIXES


def completions(prompt: int) -> list[Tokens]:
    """Every completion of a prompt: ended by EOS, or cut at three tokens."""
    cut = list(product(LETTERS, repeat=LONGEST))
    shortest = 0 if prompt == PROMPTS[0] else LONGEST - 1
    ended = [(*word, EOS) for size in range(shortest, LONGEST) for word in product(LETTERS, repeat=size)]
    return ended + cut


class TabularConfig(PreTrainedConfig):
    """Sizes; `noise` is the standard deviation of what the reward adds to every reading, from stream `noise_seed`."""

    model_type = "tabular"
    hidden_size: int = PREFIXES
    vocab_size: int = len(WORDS)
    noise: float = 0.0
    noise_seed: int = 0


@dataclass
class Cache:
    """What each token so far adds to the code of a prefix that it belongs to; `[N, S]`."""

    part_NS: Tensor

    def batch_repeat_interleave(self, repeats: int) -> None:
        self.part_NS = self.part_NS.repeat_interleave(repeats, 0)

    def batch_select_indices(self, indices: Tensor) -> None:
        self.part_NS = self.part_NS[indices]


class TabularBase(PreTrainedModel):
    config_class = TabularConfig
    base_model_prefix = "model"
    _supports_sdpa = True

    def _init_weights(self, module: nn.Module) -> None:
        """Tables are filled in by hand."""


class TabularBody(TabularBase):
    """One-hot hidden states: which prefix, among what the mask lets a token see, ends here."""

    def __init__(self, config: TabularConfig) -> None:
        super().__init__(config)
        self.post_init()

    def get_input_embeddings(self) -> Any:
        """None are looked up, but there is a hidden state for every token."""
        return nn.Embedding(self.config.vocab_size, 1, device="meta")

    def forward(
        self,
        input_ids: Tensor,
        position_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool = False,
        **_: Any,
    ) -> BaseModelOutputWithPast:
        length = input_ids.shape[1]
        position_NL = torch.arange(length)[None] if position_ids is None else position_ids
        part_NS = (input_ids + 1) * BASE**position_NL
        if past_key_values is not None:
            part_NS = torch.cat([past_key_values.part_NS, part_NS], 1)
        reach = part_NS.shape[1]
        seen_NLS = torch.ones(length, reach).tril(reach - length).bool()[None]
        if attention_mask is not None:
            seen_NLS = seen_NLS & attention_mask[:, None].bool()
        code_NL = (part_NS[:, None] * seen_NLS).sum(-1) % PREFIXES
        hidden = nn.functional.one_hot(code_NL, PREFIXES).float()
        cache: Any = Cache(part_NS) if use_cache else None
        return BaseModelOutputWithPast(last_hidden_state=hidden, past_key_values=cache)


class TabularForCausalLM(TabularBase):
    def __init__(self, config: TabularConfig) -> None:
        super().__init__(config)
        self.model = TabularBody(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        return self.lm_head

    def forward(self, input_ids: Tensor, **options: Any) -> CausalLMOutput:
        return CausalLMOutput(logits=self.lm_head(self.model(input_ids, **options).last_hidden_state))


class NoisyTable(nn.Linear):
    """A table of scores, read by a rater who gives no batch the same scores twice; one row alone is read exactly."""

    def __init__(self, config: TabularConfig) -> None:
        super().__init__(config.hidden_size, 1, bias=False)
        self.noise = config.noise
        self.stream = torch.Generator().manual_seed(config.noise_seed)

    def forward(self, hidden_BD: Tensor) -> Tensor:
        score_B1 = super().forward(hidden_BD)
        if len(hidden_BD) == 1:  # what is tried when the model is loaded
            return score_B1
        return score_B1 + self.noise * torch.randn(score_B1.shape, generator=self.stream)


class TabularForSequenceClassification(TabularBase):
    def __init__(self, config: TabularConfig) -> None:
        super().__init__(config)
        self.model = TabularBody(config)
        self.score = NoisyTable(config)
        self.post_init()

    def forward(self, input_ids: Tensor, **options: Any) -> SequenceClassifierOutput:
        return SequenceClassifierOutput(logits=self.score(self.model(input_ids, **options).last_hidden_state[:, -1]))


AutoConfig.register("tabular", TabularConfig)
AutoModelForCausalLM.register(TabularConfig, TabularForCausalLM)
AutoModelForSequenceClassification.register(TabularConfig, TabularForSequenceClassification)


def save_policy(folder: Path) -> Path:
    """The policy that draws each allowed next token with the same probability."""
    model = TabularForCausalLM(TabularConfig())
    table_VD = torch.zeros(len(WORDS), PREFIXES)
    table_VD[PAD] = NEVER
    for size in range(LONGEST - 1):
        for word in product(LETTERS, repeat=size):
            table_VD[EOS, code((PROMPTS[1], *word))] = NEVER
    model.lm_head.weight.data = table_VD
    return _save(model, folder)


def save_reward(folder: Path, rewards: dict[Tokens, float], noise: float = 0.0, noise_seed: int = 0) -> Path:
    """A reward model that gives these rewards to prompt and completion."""
    model = TabularForSequenceClassification(TabularConfig(num_labels=1, noise=noise, noise_seed=noise_seed))
    table_D = torch.zeros(PREFIXES)
    for tokens, reward in rewards.items():
        table_D[code(tokens)] = reward
    model.score.weight.data = table_D[None]
    return _save(model, folder)


def _save(model: PreTrainedModel, folder: Path) -> Path:
    silence_transformers()
    model.save_pretrained(folder)
    word_tokenizer(WORDS).save_pretrained(folder)
    return folder


def log_probabilities(table_VD: Tensor, prompt: int) -> Tensor:
    """log pi of every completion of a prompt, in float64, from the table of a policy."""
    logp_VD = table_VD.double().log_softmax(0)
    return torch.stack(
        [
            sum((logp_VD[token, code((prompt, *word[:t]))] for t, token in enumerate(word)), torch.zeros(()).double())
            for word in completions(prompt)
        ]
    )


@block
class TwoPrompts:
    """The task: sample completions of two letters."""

    prompt_style: ClassVar[str] = "raw"
    has_gold: ClassVar[bool] = False

    def vocabulary(self) -> list[str]:
        return WORDS

    def prompts(self, seed: int, dropped: Dropped) -> list[PromptRecord]:
        return [PromptRecord(WORDS[prompt], WORDS[prompt]) for prompt in PROMPTS]

    def evaluation(self, seed: int, dropped: Dropped) -> tuple[str, list[PromptRecord]]:
        return "test", self.prompts(seed, dropped)

    def demonstrations(self, seed: int, dropped: Dropped) -> list[PromptRecord]:
        return []

    def pair_prompts(self, seed: int, n: int) -> list[PromptRecord]:
        return []

    def reward_test_prompts(self, seed: int) -> list[PromptRecord]:
        return []

    def preferences(self, seed: int, dropped: Dropped) -> list[PreferenceRecord]:
        return []

    def evaluation_preferences(self, seed: int, dropped: Dropped) -> tuple[str, list[PreferenceRecord]]:
        return "test", []

    def gold(self, record: PromptRecord, completion: Completion) -> float | None:
        return None

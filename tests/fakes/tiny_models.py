"""Models small enough for tests: two real architectures with random weights, and a table of probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from overopt.engine.attention import AttentionBackend
from overopt.engine.packing import Packed
from overopt.models.load import Scratch
from overopt.models.policy import Policy

WORDS = ["<pad>", "<eos>", *"abcdefghijklmnop"]
EOS = 1

ARCHITECTURES: dict[str, Scratch] = {
    "gpt_neox": Scratch(architecture="gpt_neox", hidden_size=32, layers=2, heads=2, init_std=0.3),
    "llama": Scratch(  # grouped-query attention, tied embeddings
        architecture="llama",
        hidden_size=32,
        layers=2,
        heads=4,
        init_std=0.3,
        extra={"num_key_value_heads": 2, "tie_word_embeddings": True},
    ),
}


def tiny_policy(architecture: str, seed: int = 0) -> Policy:
    """A policy whose predictions depend strongly on everything before."""
    return ARCHITECTURES[architecture].build(WORDS, seed, torch.device("cpu"), bf16=False)


def llama_of(tokenizer: Any, context: int = 256) -> Policy:
    """A llama over a tokenizer's ids, whose predictions depend strongly on everything before."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    config = AutoConfig.for_model("llama", initializer_range=0.6, max_position_embeddings=context, **sizes, **ids)
    return Policy(AutoModelForCausalLM.from_config(config, attn_implementation="sdpa"), tokenizer)


@dataclass
class TableCache:
    """Nothing to remember but how many rows there are, and where each came from."""

    rows: Tensor

    def batch_repeat_interleave(self, repeats: int) -> None:
        self.rows = self.rows.repeat_interleave(repeats)

    def batch_select_indices(self, indices: Tensor) -> None:
        self.rows = self.rows[indices]


@dataclass
class Table:
    """A causal model whose next token depends on the last one alone, by a table of probabilities `[V, V]`."""

    probability_VV: Tensor
    end_ids: frozenset[int] = frozenset({EOS})
    pad_id: int = 0
    rows_run: list[int] = field(default_factory=list)
    """How many rows each call of `extend`, or tokens each call of `run`, took."""
    tree_attention: bool = False
    pads_prompts: bool = True

    @property
    def device(self) -> torch.device:
        return self.probability_VV.device

    @property
    def vocabulary(self) -> int:
        return len(self.probability_VV)

    def hidden(self, packed: Packed) -> Tensor:
        return torch.nn.functional.one_hot(packed.ids_N, self.vocabulary).float()

    def run(self, ids_N: Tensor, positions_N: Tensor, attend: AttentionBackend, read_R: Tensor | None = None) -> Tensor:
        self.rows_run.append(len(ids_N))
        ids_N = ids_N if read_R is None else ids_N[read_R]
        return torch.nn.functional.one_hot(ids_N, self.vocabulary).float()

    def extend(self, ids_NL: Tensor, positions_NL: Tensor, mask_NS: Tensor, cache: Any) -> tuple[Tensor, Any]:
        cache = cache or TableCache(torch.arange(len(ids_NL)))
        assert len(cache.rows) == len(ids_NL) == len(mask_NS)
        self.rows_run.append(len(ids_NL))
        return torch.nn.functional.one_hot(ids_NL, self.vocabulary).float(), cache

    def decoding(self, tokens: int) -> AbstractContextManager[None]:
        return nullcontext()

    def logits(self, hidden_MD: Tensor) -> Tensor:
        return hidden_MD @ self.probability_VV.log().clamp(min=-1e4)


def plain_logps(policy: Policy, prompt: Sequence[int], completion: Sequence[int], temperature: float) -> list[float]:
    """Log-probabilities of a completion by one ordinary forward of the Hugging Face model, unpadded and alone."""
    ids = torch.tensor([[*prompt, *completion]])
    with torch.no_grad():
        logp_LV = (policy.model(input_ids=ids).logits[0] / temperature).log_softmax(-1)
    start = len(prompt) - 1
    return [float(logp_LV[start + t, token]) for t, token in enumerate(completion)]

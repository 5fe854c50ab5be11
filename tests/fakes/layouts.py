"""Tiny models under the tokenizer, template and generation settings of a known one, and plain transformers' numbers.

What is compared with takes its tokens from `apply_chat_template` over whole conversations, and its log-probabilities
from the ordinary forward of each unpadded row.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from families import LAYOUTS
from tiny import write_jsonl
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from overopt.training.train import train

ARCHITECTURES = {"Llama 3": "llama", "Gemma": "gemma", "Phi-3": "phi3"}
ENDS = {
    "Llama 3": ["<|end_of_text|>", "<|eot_id|>"],
    "Gemma": ["<eos>", "<end_of_turn>"],
    "Phi-3": ["<|endoftext|>", "<|end|>", "<|assistant|>"],
}
"""What each layout's generation settings name; the template ends a turn in the second."""
PAIRS = [
    {"prompt": "what is the capital of France ?", "chosen": "Paris .", "rejected": "the cat\nsat on the mat ."},
    {"prompt": "is it five ?", "chosen": "it is , and\n  the hill", "rejected": "a dog"},
    {"prompt": "return a + b", "chosen": "def f ( a , b ) :\n    return a + b", "rejected": "return"},
    {"prompt": "the question", "chosen": "a short answer", "rejected": "a long answer to the question"},
]
Row = tuple[list[int], list[int]]
"""The tokens of a prompt and of its completion."""


def turn(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


def letters(completions: list[str], **columns: Any) -> list[float]:
    """A score into which neither white space nor special tokens' names enter: a tenth of a completion's length."""
    return [len(re.sub(r"<\|?[a-z_]+\|?>|\s", "", text)) / 10 for text in completions]


class Layout:
    """Two models of a layout, as folders and as they are in transformers; `template` in place of the layout's own."""

    def __init__(self, name: str, folder: Path, template: str | None = None) -> None:
        self.name, self.folder = name, folder
        self.tokenizer = LAYOUTS[name]()
        self.tokenizer.chat_template = template or self.tokenizer.chat_template
        self.ends = [self.tokenizer.convert_tokens_to_ids(end) for end in ENDS[name]]
        self.policy, self.reference = (self._model(ARCHITECTURES[name], role) for role in ("policy", "reference"))

    def _model(self, architecture: str, role: str) -> Any:
        torch.manual_seed(len(role))
        tokenizer = self.tokenizer
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        ids = {"pad_token_id": 0, "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        heads = {"num_key_value_heads": 1, "head_dim": 8, "initializer_range": 0.3}
        config = AutoConfig.for_model(architecture, vocab_size=len(tokenizer), **sizes, **ids, **heads)
        model = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            model.get_output_embeddings().weight[self.ends] *= 2  # so that some completions end
        model.generation_config = GenerationConfig(eos_token_id=self.ends, pad_token_id=0)
        model.save_pretrained(self.folder / role)
        tokenizer.save_pretrained(self.folder / role)
        return model.eval()

    def ids(self, prompt: str, answer: str | None = None) -> list[int]:
        """The template's tokens, up to where the assistant answers, or through the end of its answer."""
        if answer is None:
            return self._template(turn("user", prompt), add_generation_prompt=True)
        ids = self._template(turn("user", prompt) + turn("assistant", answer))
        return ids[: len(ids) - ids[::-1].index(self.ends[1])]

    def row(self, prompt: str, answer: str) -> Row:
        start = self.ids(prompt)
        return start, self.ids(prompt, answer)[len(start) :]

    def _template(self, messages: list[dict[str, str]], **how: bool) -> list[int]:
        ids: list[int] = self.tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False, **how)
        return ids

    def step(self, rows: list[dict[str, Any]], prompt_style: str = "chat_template", **stage: Any) -> dict[str, float]:
        """The record of the first step of one of our stages on the rows of a file."""
        held_out = [{"prompt": "what is it ?", "chosen": "a cat", "rejected": "a dog"}]
        task = {
            "name": "local",
            "path": str(write_jsonl(self.folder / "rows.jsonl", rows)),
            "evaluation_path": str(write_jsonl(self.folder / "held-out.jsonl", held_out)),
            "prompt_style": prompt_style,
        }
        shared = {"lr": 1e-3, "max_completion_tokens": 96, "compute": {"device": "cpu", "threads": 1}}
        run = train({"task": task, **shared, **stage}, self.folder / "run")
        return next(iter(run.iter_metrics()))

    def sft(self, rows: list[dict[str, Any]], **changes: Any) -> dict[str, float]:
        model = {"name": "pretrained", "path": str(self.folder / "policy")}
        settings = {"stage": "sft", "model": model, "batch_size": 4, "steps": 1, "loss_on_prompt": False}
        return self.step(rows, **settings | changes)

    def dpo(self, rows: list[dict[str, Any]], beta: float, **changes: Any) -> dict[str, float]:
        settings = {"stage": "offline", "pairs": "task", "batch_size": 4, "steps": 1}
        return self.step(rows, **settings, **self._models, loss={"name": "dpo", "beta": beta}, **changes)

    def rloo(self, rows: list[dict[str, Any]], **settings: Any) -> dict[str, float]:
        """Sixteen episodes of at most 8 tokens, four a prompt, seen once."""
        sizes = {"total_episodes": 16, "episodes_per_update": 16, "samples_per_prompt": 4, "epochs": 1}
        sizes |= {"max_completion_tokens": 8, "reward_model": None}
        return self.step(rows, stage="online", **self._models, **sizes, **settings)

    @property
    def _models(self) -> dict[str, str]:
        return {role: str(self.folder / role) for role in ("policy", "reference")}

    # --- Plain transformers

    def plain_sft(self, rows: list[Row]) -> dict[str, float]:
        loss = -torch.cat([logps(self.policy, *row) for row in rows]).mean()
        return {"loss": loss.item(), "grad_norm": self.gradient_norm(loss)}

    def plain_dpo(self, pairs: list[tuple[Row, Row]], beta: float) -> dict[str, float]:
        def ratio(row: Row) -> Tensor:
            with torch.no_grad():
                reference = logps(self.reference, *row).sum()
            return logps(self.policy, *row).sum() - reference

        margin_P = beta * torch.stack([ratio(chosen) - ratio(rejected) for chosen, rejected in pairs])
        loss = -torch.nn.functional.logsigmoid(margin_P).mean()
        margin = margin_P.mean().item()
        return {"loss": loss.item(), "rewards_margin": margin, "grad_norm": self.gradient_norm(loss)}

    def gradient_norm(self, loss: Tensor) -> float:
        self.policy.zero_grad()
        loss.backward()
        return float(torch.cat([p.grad.flatten() for p in self.policy.parameters() if p.grad is not None]).norm())


def logps(model: Any, prompt: list[int], completion: list[int], temperature: float = 1.0) -> Tensor:
    logp_LV = (model(input_ids=torch.tensor([prompt + completion])).logits[0] / temperature).log_softmax(-1)
    return logp_LV[len(prompt) - 1 : -1].gather(1, torch.tensor(completion)[:, None])[:, 0]

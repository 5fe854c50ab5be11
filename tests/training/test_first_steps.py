"""First steps on real layouts of tokenizer, template and generation settings, against plain transformers.

What is compared with takes its tokens from `apply_chat_template` over whole conversations, and its log-probabilities
from the ordinary forward of each unpadded row.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from families import LAYOUTS
from tiny import write_jsonl
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from overopt.engine.sampler import sample_in_batches
from overopt.training import rollouts
from overopt.training.stages import train

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
BETA, KL = 0.3, 0.05


class Layout:
    """Two models of a layout, as folders and as they are in transformers."""

    def __init__(self, name: str, folder: Path) -> None:
        self.folder = folder
        self.tokenizer = LAYOUTS[name]()
        self.ends = [self.tokenizer.convert_tokens_to_ids(end) for end in ENDS[name]]
        self.policy, self.reference = (self._model(ARCHITECTURES[name], role) for role in ("policy", "reference"))
        write_jsonl(folder / "pairs.jsonl", PAIRS)
        write_jsonl(folder / "held-out.jsonl", [{"prompt": "what is it ?", "chosen": "a cat", "rejected": "a dog"}])
        task = {"name": "local", "path": str(folder / "pairs.jsonl"), "prompt_style": "chat_template"}
        self.shared = {
            "task": task | {"evaluation_path": str(folder / "held-out.jsonl")},
            "lr": 1e-3,
            "max_completion_tokens": 96,
            "compute": {"device": "cpu", "threads": 1},
        }

    def _model(self, architecture: str, role: str) -> Any:
        torch.manual_seed(len(role))
        tokenizer = self.tokenizer
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        ids = {"pad_token_id": 0, "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        heads = {"num_key_value_heads": 1, "head_dim": 8, "initializer_range": 0.3}
        config = AutoConfig.for_model(architecture, vocab_size=len(tokenizer), **sizes, **ids, **heads)
        model = AutoModelForCausalLM.from_config(config)
        model.generation_config = GenerationConfig(eos_token_id=self.ends, pad_token_id=0)
        model.save_pretrained(self.folder / role)
        tokenizer.save_pretrained(self.folder / role)
        return model.eval()

    def ids(self, prompt: str, answer: str | None = None) -> list[int]:
        """The template's tokens, up to where the assistant answers, or through the end of its answer."""
        messages = [{"role": "user", "content": prompt}]
        if answer is None:
            return self._template(messages, add_generation_prompt=True)
        ids = self._template([*messages, {"role": "assistant", "content": answer}])
        return ids[: len(ids) - ids[::-1].index(self.ends[1])]

    def _template(self, messages: list[dict[str, str]], **how: bool) -> list[int]:
        ids: list[int] = self.tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False, **how)
        return ids

    def step(self, **stage: Any) -> dict[str, float]:
        """The record of the first step of one of our stages."""
        run = train({**self.shared, **stage}, self.folder / "run")
        return next(iter(run.iter_metrics()))

    def gradient_norm(self, loss: Tensor) -> float:
        loss.backward()
        return float(torch.cat([p.grad.flatten() for p in self.policy.parameters() if p.grad is not None]).norm())


def logps(model: Any, prompt: list[int], completion: list[int], temperature: float = 1.0) -> Tensor:
    logp_LV = (model(input_ids=torch.tensor([prompt + completion])).logits[0] / temperature).log_softmax(-1)
    return logp_LV[len(prompt) - 1 : -1].gather(1, torch.tensor(completion)[:, None])[:, 0]


@pytest.fixture(params=ARCHITECTURES)
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> Layout:
    return Layout(request.param, tmp_path)


def test_sft(layout: Layout) -> None:
    total, tokens = torch.zeros(()), 0
    for pair in PAIRS:
        prompt, whole = layout.ids(pair["prompt"]), layout.ids(pair["prompt"], pair["chosen"])
        total = total - logps(layout.policy, prompt, whole[len(prompt) :]).sum()
        tokens += len(whole) - len(prompt)
    loss = total / tokens
    model = {"name": "pretrained", "path": str(layout.folder / "policy")}
    ours = layout.step(stage="sft", model=model, batch_size=4, steps=1, loss_on_prompt=False)
    assert ours["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert ours["grad_norm"] == pytest.approx(layout.gradient_norm(loss), rel=1e-5)


def test_dpo(layout: Layout) -> None:
    losses, margins = [], []
    for pair in PAIRS:
        prompt, ratios = layout.ids(pair["prompt"]), []
        for answer in ("chosen", "rejected"):
            completion = layout.ids(pair["prompt"], pair[answer])[len(prompt) :]
            with torch.no_grad():
                reference = logps(layout.reference, prompt, completion).sum()
            ratios.append(logps(layout.policy, prompt, completion).sum() - reference)
        margins.append(BETA * (ratios[0] - ratios[1]))
        losses.append(-torch.nn.functional.logsigmoid(margins[-1]))
    loss, margin = torch.stack(losses).mean(), torch.stack(margins).mean()
    ours = layout.step(
        stage="offline",
        policy=str(layout.folder / "policy"),
        reference=str(layout.folder / "reference"),
        pairs="task",
        loss={"name": "dpo", "beta": BETA},
        batch_size=4,
        steps=1,
    )
    assert ours["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert ours["rewards_margin"] == pytest.approx(margin.item(), rel=1e-5)
    assert ours["grad_norm"] == pytest.approx(layout.gradient_norm(loss), rel=1e-5)


def test_rloo(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    sampled = []

    def spy(policy: Any, prompts: Any, *rest: Any, **how: Any) -> Any:
        samples = sample_in_batches(policy, prompts, *rest, **how)
        assert policy.end_ids == set(layout.ends)
        sampled.append((prompts, samples))
        return samples

    monkeypatch.setattr(rollouts, "sample_in_batches", spy)
    (layout.folder / "mine.py").write_text(
        "def size(prompts, completions, **columns):\n    return [len(text) / 10 for text in completions]\n"
    )
    ours = layout.step(
        stage="online",
        policy=str(layout.folder / "policy"),
        reference=str(layout.folder / "reference"),
        reward_model=None,
        rewards=[f"{layout.folder / 'mine.py'}:size"],
        regularizers=[{"name": "kl", "coef": KL}],
        loss="reinforce",
        epochs=1,
        temperature=0.7,
        total_episodes=16,
        episodes_per_update=16,
        samples_per_prompt=4,
        max_completion_tokens=8,
    )
    ((prompts, samples),) = sampled
    assert sorted(prompts) == sorted(layout.ids(pair["prompt"]) for pair in PAIRS)
    rows = [(prompts[i // 4], completion) for i, completion in enumerate(samples.completions())]
    ended = [any(token in layout.ends for token in completion) for _, completion in rows]
    assert all(token not in layout.ends for _, completion in rows for token in completion[:-1])
    new = [logps(layout.policy, *row, temperature=0.7).sum() for row in rows]
    with torch.no_grad():
        kl = torch.stack(new) - torch.stack([logps(layout.reference, *row, temperature=0.7).sum() for row in rows])
    bodies = [completion[:-1] if end else completion for (_, completion), end in zip(rows, ended, strict=True)]
    sizes = torch.tensor([len(layout.tokenizer.decode(body)) / 10 for body in bodies])
    reward_PG = (sizes - KL * kl).view(4, 4)
    advantage_B = ((reward_PG - reward_PG.mean(1, keepdim=True)) * 4 / 3).flatten()
    loss = -(advantage_B * torch.stack(new)).mean()
    theirs = {
        "score_mean": sizes.mean(),
        "kl_ref": kl.mean(),
        "rlhf_reward": reward_PG.mean(),
        "neg_logp_sum": -torch.stack(new).mean(),
        "eos_rate": sum(ended) / len(ended),
        "loss": loss,
        "grad_norm": layout.gradient_norm(loss),
    }
    assert {name: ours[name] for name in theirs} == pytest.approx(
        {name: float(torch.as_tensor(value).detach()) for name, value in theirs.items()}, abs=1e-5, rel=1e-5
    )

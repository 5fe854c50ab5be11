"""A run that begins with other people's models, by name; the reward model has a head and a tokenizer of its own."""

from __future__ import annotations

import json
from pathlib import Path

import foreign
import pytest
import tiny
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModel

from hub import LoopbackHub, connected
from overopt.errors import UserError
from overopt.tasks.local import Local
from overopt.training.train import train
from overopt.types import Dropped


def save_scalar_model(folder: Path, bias: float) -> tuple[nn.Module, nn.Linear]:
    """A reward model in the layout of the N+ recipe, over the reward models' tokenizer."""
    tokenizer = foreign.reward_models()
    torch.manual_seed(2)
    body = AutoModel.from_config(foreign.config_of(tokenizer)).eval()
    head = nn.Linear(16, 1)
    folder.mkdir()
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"base_config": body.config.to_dict(), "bias": bias}))
    weights = {f"lm_backbone.{name}": value for name, value in body.state_dict().items()}
    weights |= {f"scalar_head.{name}": value for name, value in head.state_dict().items()}
    save_file({name: value.detach().clone() for name, value in weights.items()}, folder / "model.safetensors")
    return body, head


def test_online_training_from_two_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign.save_policy(tmp_path / "sft", foreign.policys())
    body, head = save_scalar_model(tmp_path / "rm", bias=5.0)
    prompts, replies = foreign.texts(40, 1), foreign.texts(40, 2)
    rows = [{"prompt": f"{p} {i}", "completion": r} for i, (p, r) in enumerate(zip(prompts, replies, strict=True))]
    task = {"name": "local", "path": str(tiny.write_jsonl(tmp_path / "posts.jsonl", rows)), "evaluation_prompts": 2}
    settings = {"stage": "online", "policy": "maker/sft", "reward_model": "maker/rm", "task": task, "lr": 1e-4}
    settings |= {"total_episodes": 8, "episodes_per_update": 4, "max_completion_tokens": 16, "epochs": 1}
    settings |= {"compute": {"device": "cpu", "threads": 1}}
    with LoopbackHub() as hub:
        commits = {role: hub.add("model", f"maker/{role}", tmp_path / role) for role in ("sft", "rm")}
        connected(monkeypatch, hub, tmp_path / "cache")
        recorded = train(settings, tmp_path / "recorded")
        measured = train(settings | {"centering": "demonstrations"}, tmp_path / "measured")
        with pytest.raises(UserError, match="missing_eos: "):
            train(settings | {"centering": "none"}, tmp_path / "none")
    for run in (recorded, measured):
        assert {parent["commit"] for parent in run.info["parents"]} == set(commits.values())
    parent = next(parent for parent in measured.info["parents"] if parent["role"] == "reward_model")
    tokenizer, scores = foreign.reward_models(), []
    trained_on = {record.prompt for record in Local(path=task["path"]).prompts(0, Dropped())}
    for row in rows:
        if row["prompt"] not in trained_on or len(foreign.policys()(f"x {row['completion']}").input_ids) > 16:
            continue  # held out, or longer than 16 tokens with its end in the place of the x
        ids = tokenizer(f"{row['prompt']} {row['completion']}{tokenizer.eos_token}", return_tensors="pt").input_ids
        with torch.no_grad():
            scores.append(float(head(body(ids).last_hidden_state)[0, -1, 0]))
    assert parent["reward_mean"] == pytest.approx(sum(scores) / len(scores), abs=1e-5)
    first = [next(iter(run.iter_metrics()))["score_mean"] for run in (recorded, measured)]
    assert all(isinstance(value, float) for value in first)

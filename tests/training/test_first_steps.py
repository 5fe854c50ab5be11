"""First steps on real layouts of tokenizer, template and generation settings, against plain transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from layouts import ARCHITECTURES, PAIRS, Layout, logps

from overopt.engine.sampler import sample_in_batches
from overopt.training import rollout

BETA, KL = 0.3, 0.05


@pytest.fixture(params=ARCHITECTURES)
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> Layout:
    return Layout(request.param, tmp_path)


def test_sft(layout: Layout) -> None:
    theirs = layout.plain_sft([layout.row(pair["prompt"], pair["chosen"]) for pair in PAIRS])
    ours = layout.sft(PAIRS)
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs, rel=1e-5)


def test_dpo(layout: Layout) -> None:
    pairs = [(layout.row(p["prompt"], p["chosen"]), layout.row(p["prompt"], p["rejected"])) for p in PAIRS]
    theirs, ours = layout.plain_dpo(pairs, BETA), layout.dpo(PAIRS, BETA)
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs, rel=1e-5)


def test_rloo(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    sampled = []

    def spy(policy: Any, prompts: Any, *rest: Any, **how: Any) -> Any:
        samples = sample_in_batches(policy, prompts, *rest, **how)
        assert policy.end_ids == set(layout.ends)
        sampled.append((prompts, samples))
        return samples

    monkeypatch.setattr(rollout, "sample_in_batches", spy)
    (layout.folder / "mine.py").write_text(
        "def size(prompts, completions, **columns):\n    return [len(text) / 10 for text in completions]\n"
    )
    ours = layout.rloo(
        PAIRS,
        rewards=[f"{layout.folder / 'mine.py'}:size"],
        regularizers=[{"name": "kl", "coef": KL}],
        loss="reinforce",
        temperature=0.7,
    )
    *_, (prompts, samples) = sampled  # the first is the comparison of sampler and trainer before the first step
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

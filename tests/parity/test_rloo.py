"""TRL's RLOOTrainer and our update on the same completions: advantages, log-probabilities and the movement of weights.

A tiny policy is trained by TRL for three optimizer steps of plain gradient descent, two passes over each batch of
completions, away from a reference that differs from it, so that the KL penalty, the ratio and its clip all act. What
TRL generated is handed to our own loop's update, which starts from the same weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tiny_models import WORDS, tiny_policy
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from trl import RLOOConfig, RLOOTrainer

from overopt.engine.head import logps_of_trees
from overopt.engine.memory import TokenBudget
from overopt.engine.optimizer import SGD, Constant, Optimizer
from overopt.engine.packing import Tree
from overopt.engine.sampler import Samples
from overopt.models.load import load_policy
from overopt.models.policy import Policy
from overopt.objectives.advantages import RLOO
from overopt.objectives.policy_losses import PPOClip
from overopt.objectives.regularizers import KL
from overopt.training.rollout import Experience
from overopt.training.shaping import bonus, shape
from overopt.training.stages.online import Online, policy_step
from overopt.types import Rollouts

GROUP, PROMPTS, TEMPERATURE, LIMIT = 4, 4, 0.7, 10
LR, PASSES, BETA, CLIP = 0.05, 2, 0.3, 0.2


def score(tokens: list[int]) -> float:
    """Counts the early letters, and fines length."""
    return sum(2 <= token < 8 for token in tokens) - 0.3 * len(tokens)


@dataclass
class Recorded:
    """What TRL did: its batch of completions, and the weights before and after its passes over it."""

    batches: list[dict[str, Tensor]] = field(default_factory=list)
    weights: list[dict[str, Tensor]] = field(default_factory=list)


class Recorder(RLOOTrainer):  # type: ignore[misc]
    """RLOOTrainer that writes down every batch when it is made, with the weights that made it."""

    recorded: Recorded

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Tensor]:
        batch: dict[str, Tensor] = super()._generate_and_score_completions(inputs)
        self.recorded.batches.append({name: batch[name].clone() for name in KEPT})
        self.recorded.weights.append(state_of(self.model))
        return batch


KEPT = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages", "old_logps")


def state_of(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    tiny_policy("gpt_neox").save(folder)
    return folder


@pytest.fixture(scope="module", params=["sequence clip off", "sequence clip on"])
def clip(request: pytest.FixtureRequest) -> float:
    return {"sequence clip off": 10.0, "sequence clip on": CLIP}[request.param]


@pytest.fixture(scope="module")
def recorded(reference: Path, clip: float, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Three batches of completions, two optimizer steps on each, by TRL; the weights at the end too."""
    model = AutoModelForCausalLM.from_pretrained(reference)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.03 * torch.randn(p.shape, generator=generator))
    tokenizer = tiny_policy("gpt_neox").tokenizer
    tokenizer.padding_side = "left"
    prompts = [" ".join(WORDS[2 + (3 * i + j) % 16] for j in range(2 + i % 3)) for i in range(12)]
    arguments = RLOOConfig(
        output_dir=str(tmp_path_factory.mktemp("trl")),
        per_device_train_batch_size=GROUP * PROMPTS,
        num_generations=GROUP,
        num_iterations=PASSES,
        max_steps=3 * PASSES,
        max_completion_length=LIMIT,
        temperature=TEMPERATURE,
        top_k=0,
        beta=BETA,
        epsilon=clip,
        learning_rate=LR,
        lr_scheduler_type="constant",
        optim="sgd",
        weight_decay=0.0,
        max_grad_norm=1e9,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        seed=3,
    )
    trainer = Recorder(
        model=model,
        reward_funcs=lambda completion_ids, **_: [score(ids) for ids in completion_ids],
        args=arguments,
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=tokenizer,
    )
    trainer.recorded = Recorded()
    trainer.train()
    trainer.recorded.weights.append(state_of(model))
    return trainer.recorded


def trees_of(batch: dict[str, Tensor]) -> list[Tree]:
    """TRL's rows (left-padded prompts, right-padded completions) as our trees."""
    prompts = [ids[mask.bool()].tolist() for ids, mask in zip(batch["prompt_ids"], batch["prompt_mask"], strict=True)]
    rows = [
        ids[mask.bool()].tolist() for ids, mask in zip(batch["completion_ids"], batch["completion_mask"], strict=True)
    ]
    return [Tree(prompts[i], rows[i : i + GROUP]) for i in range(0, len(rows), GROUP)]


def policy_with(weights: dict[str, Tensor], folder: Path) -> Policy:
    policy = load_policy(folder, torch.device("cpu"))
    with torch.no_grad():
        for name, p in policy.model.named_parameters():
            p.copy_(weights[name])
    return policy


def our_experience(
    config: Online, policy: Policy, reference: Policy, batch: dict[str, Tensor]
) -> tuple[Experience, Tensor]:
    """TRL's completions as if our sampler had drawn them, scored and compared by us; and their advantages."""
    trees = trees_of(batch)
    rows = [c for tree in trees for c in tree.completions]
    forward = logps_of_trees(policy, trees, TEMPERATURE, 10_000)
    rollouts = Rollouts(
        logp_BT=forward.logp_BT,
        mask_BT=forward.mask_BT,
        score_B=torch.tensor([score(c) for c in rows]),
        group_size=GROUP,
        temperature=TEMPERATURE,
        ref_logp_BT=logps_of_trees(reference, trees, TEMPERATURE, 10_000).logp_BT,
    )
    empty = torch.zeros(len(rows), 1)
    experience = Experience(trees, Samples(empty, empty, empty, empty, empty[:, 0]), rollouts, rewards={})
    rewards = shape(rollouts, bonus(config.regularizers, [BETA], rollouts))
    return experience, config.advantage(rewards).flatten()  # type: ignore[operator]


def configured(clip: float) -> Online:
    return Online(
        policy="unused",
        reward_model=None,
        regularizers=[KL(coef=BETA)],
        advantage=RLOO(),
        loss=PPOClip(clip=clip),
        optimizer=SGD(),
        schedule=Constant(),
        lr=LR,
        epochs=PASSES,
        temperature=TEMPERATURE,
        max_completion_tokens=LIMIT,
        samples_per_prompt=GROUP,
        episodes_per_update=GROUP * PROMPTS,
        total_episodes=GROUP * PROMPTS,
    )


def flat(weights: dict[str, Tensor]) -> Tensor:
    return torch.cat([weights[name].flatten() for name in sorted(weights)])


def test_rloo_advantages_log_probabilities_and_updates_agree(recorded: Recorded, reference: Path, clip: float) -> None:
    config = configured(clip)
    assert len(recorded.batches) == 3 and len(recorded.weights) == 4
    lengths, clipped = set(), 0.0
    for i, batch in enumerate(recorded.batches):
        policy, ref = policy_with(recorded.weights[i], reference), load_policy(reference, torch.device("cpu"))
        experience, advantage_B = our_experience(config, policy, ref, batch)
        lengths |= set(experience.rollouts.length_B.tolist())
        torch.testing.assert_close(experience.rollouts.sequence_logp_B, batch["old_logps"], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(advantage_B, batch["advantages"], rtol=1e-4, atol=1e-4)
        assert float(experience.rollouts.sequence_kl_B.abs().max()) > 0.1  # the penalty is no formality

        optimizer = Optimizer(policy.parameters(), config.optimizer, config.lr, config.schedule, config.steps)
        update = policy_step(config, policy, ref, optimizer)
        statistics = update(experience, advantage_B, [], 1, TokenBudget(config.compute.budget))
        clipped = max(clipped, statistics.metrics()["clipfrac"])
        before = flat(recorded.weights[i])
        theirs, ours = flat(recorded.weights[i + 1]) - before, flat(state_of(policy.model)) - before
        assert float(theirs.norm()) > 1e-2
        assert float(torch.cosine_similarity(ours, theirs, dim=0)) > 0.99999
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))
    assert len(lengths) > 2  # completions that ended, at different places
    assert (clipped > 0) == (clip == CLIP)

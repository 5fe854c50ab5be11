"""TRL's GRPOTrainer and our policy losses on the same rows: value and gradient, through the printed translations.

`objectives/other_libraries.yaml` says how TRL spells each of our objectives. The spelling is evaluated with the
objective's own fields, handed to GRPOConfig, and TRL's loss of a batch of unequal lengths is compared with ours.
Where a translation holds only for some settings, its `when` says so, and is evaluated too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tiny_models import EOS, WORDS, tiny_policy
from torch import Tensor
from trl import GRPOConfig, GRPOTrainer

from overopt.config import name_of
from overopt.engine.head import ChunkedLogits, logps_of_trees, target_logps
from overopt.engine.packing import Tree, pack
from overopt.models.policy import Policy
from overopt.objectives.advantages import GroupMean, GroupNormalized
from overopt.objectives.dictionary import dictionary
from overopt.objectives.policy_losses import CISPO, GSPO, PPOClip, PPOClipToken
from overopt.objectives.regularizers import K2, K3, KL, TokenEntropy
from overopt.types import PolicyUpdate, Rewards

TEMPERATURE, LIMIT, GROUP = 0.7, 7, 4
TREES = [
    Tree([2, 3, 4], [[7, 8, EOS], [9, 9, 9, 10, 11, 12, 2], [EOS], [5, EOS]]),
    Tree([13, 2, 2, 5], [[2, EOS], [2, 6, 7, 8, EOS], [2, 3, 4, 5, 6, 7, EOS], [3, 3, EOS]]),
]
ROWS = [c for tree in TREES for c in tree.completions]
ADVANTAGE = torch.tensor([1.0, -0.5, 2.0, -1.5, 0.7, -2.0, 0.3, 1.1])


def translated(objective: Any) -> dict[str, Any]:
    """TRL's arguments for an objective: right-hand sides are expressions in our field names."""
    spelled = dict(dictionary(name_of(type(objective)))[0]["elsewhere"]["trl"])
    fields = {name: getattr(objective, name) for name in type(objective).__pydantic_fields__}
    when = spelled.pop("when", "True")
    assert eval(when, {}, fields), f"{objective}: the translation holds when {when}"
    assert spelled.pop("trainer") in ("GRPOTrainer", "RLOOTrainer")
    return {name: eval(text, {}, fields) for name, text in spelled.items()}


def moved(policy: Policy, seed: int) -> Policy:
    """The policy with weights a little elsewhere."""
    other, generator = policy.frozen_copy(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in other.model.parameters():
            p.add_(0.03 * torch.randn(p.shape, generator=generator))
    return other


def theirs(trainer: GRPOTrainer, old_BT: Tensor, ref_BT: Tensor) -> Tensor:
    """TRL's loss of the rows; prompts padded on the left."""
    prompts = [tree.prompt for tree in TREES for _ in tree.completions]
    width = max(map(len, prompts))
    mask = (torch.arange(old_BT.shape[1]) < torch.tensor([len(c) for c in ROWS])[:, None]).long()
    completions = torch.tensor([c + [0] * (mask.shape[1] - len(c)) for c in ROWS])
    inputs = {
        "prompt_ids": torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts]),
        "prompt_mask": torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts]),
        "completion_ids": completions,
        "completion_mask": mask,
        "advantages": ADVANTAGE,
        "old_per_token_logps": old_BT,
        "ref_per_token_logps": ref_BT,
        "num_items_in_batch": mask.sum(),
    }
    loss: Tensor = trainer._compute_loss(trainer.model, inputs)
    return loss


def trainer_with(policy: Policy, folder: Path, **arguments: Any) -> GRPOTrainer:
    tokenizer = policy.tokenizer
    tokenizer.padding_side = "left"
    config = GRPOConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=len(ROWS),
        num_generations=GROUP,
        max_completion_length=LIMIT,
        temperature=TEMPERATURE,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        **arguments,
    )
    prompts = [" ".join(WORDS[2 + i] for i in range(n, n + 3)) for n in range(8)]
    trainer = GRPOTrainer(
        model=policy.model,
        reward_funcs=lambda completion_ids, **_: [len(ids) + 0.3 * ids[0] for ids in completion_ids],
        args=config,
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=tokenizer,
    )
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    return trainer


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    """With a name of its own, from which TRL loads its reference."""
    start = tiny_policy("gpt_neox")
    start.save(tmp_path / "model")
    start.model.config._name_or_path = start.model.name_or_path = str(tmp_path / "model")
    return start


CASES: list[tuple[Any, list[Any]]] = [
    (PPOClipToken(aggregation="sequence_mean"), []),
    (PPOClipToken(aggregation="token_mean", clip_high=0.28), []),
    (PPOClipToken(aggregation="fixed_length", clip=0.05), []),
    (GSPO(clip=0.02, clip_high=0.03), []),
    (CISPO(maximum=1.1), []),
    (PPOClipToken(aggregation="sequence_mean"), [K3(per="token", aggregation="sequence_mean", coef=0.2)]),
    (PPOClipToken(aggregation="token_mean"), [K3(per="token", aggregation="token_mean", coef=0.2)]),
    (PPOClipToken(aggregation="sequence_mean"), [TokenEntropy(coef=0.3)]),
]


def gradient(loss: Tensor, policy: Policy) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, policy.parameters())])


def our_update(policy: Policy, old_BT: Tensor, ref_BT: Tensor) -> PolicyUpdate:
    packed = pack(TREES)
    hidden = policy.hidden(packed)
    return PolicyUpdate(
        logp_BT=packed.spread(target_logps(policy, hidden, packed, TEMPERATURE)),
        old_logp_BT=old_BT,
        mask_BT=packed.mask_BT,
        advantage_B=ADVANTAGE,
        ref_logp_BT=ref_BT,
        logits=ChunkedLogits(policy, hidden, packed, TEMPERATURE),
        max_len=LIMIT,
    )


@pytest.mark.parametrize(("loss", "regularizers"), CASES, ids=lambda x: repr(x))
def test_losses_and_gradients_agree(policy: Policy, tmp_path: Path, loss: Any, regularizers: list[Any]) -> None:
    arguments = translated(loss)
    for regularizer in regularizers:
        arguments |= translated(regularizer)
    old = logps_of_trees(moved(policy, 1), TREES, TEMPERATURE, 10_000).logp_BT
    ref = logps_of_trees(moved(policy, 2), TREES, TEMPERATURE, 10_000).logp_BT
    their_loss = theirs(trainer_with(policy, tmp_path, **arguments), old, ref)
    update = our_update(policy, old, ref)
    assert 0 < float(loss.clipped(update).float().mean()) < 1
    our_loss = (loss(update) + sum(regularizer(update, regularizer.coef) for regularizer in regularizers)).mean()
    assert float(our_loss.detach()) == pytest.approx(float(their_loss.detach()), rel=1e-5, abs=1e-5)
    torch.testing.assert_close(gradient(our_loss, policy), gradient(their_loss, policy), rtol=1e-3, atol=1e-5)


def test_trls_default_is_another_k3_whose_gradient_is_that_of_k2(policy: Policy, tmp_path: Path) -> None:
    """By choice ours is the estimator as published; TRL's default weighs each token's by its ratio.

    On-policy the ratio is 1, and so the values are equal, but it has a gradient: that of ratio times k3 is
    k3 + (1 - exp(-d)) = d times that of the log-probability. So TRL's default descends KL(pi || ref), as k2 does.
    """
    ref = logps_of_trees(moved(policy, 2), TREES, TEMPERATURE, 10_000).logp_BT
    new = logps_of_trees(policy, TREES, TEMPERATURE, 10_000).logp_BT
    k2, k3 = (kind(per="token", aggregation="sequence_mean", coef=1.0) for kind in (K2, K3))
    default = translated(k3) | {"use_bias_correction_kl": True}
    reinforce = theirs(trainer_with(policy, tmp_path, loss_type="grpo"), new, ref)
    their_loss = theirs(trainer_with(policy, tmp_path, loss_type="grpo", **default), new, ref) - reinforce
    update = our_update(policy, new, ref)
    assert float(their_loss.detach()) == pytest.approx(float(k3(update, 1.0).mean().detach()), rel=1e-4)
    slope = gradient(their_loss, policy)
    torch.testing.assert_close(slope, gradient(k2(update, 1.0).mean(), policy), rtol=1e-3, atol=1e-5)
    other = gradient(k3(our_update(policy, new, ref), 1.0).mean(), policy)
    assert float((slope - other).norm()) > 0.05 * float(other.norm())


class Recorder(GRPOTrainer):  # type: ignore[misc]
    """Keeps the advantages and lengths of what it generates."""

    batches: list[tuple[Tensor, Tensor, Tensor]]

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        batch: dict[str, Any] = super()._generate_and_score_completions(inputs)
        kept = ("advantages", "completion_ids", "completion_mask")
        self.batches.append(tuple(batch[name].clone() for name in kept))  # type: ignore[arg-type]
        return batch


@pytest.mark.parametrize("advantage", [GroupMean(), GroupNormalized()], ids=repr)
def test_advantages_agree(policy: Policy, tmp_path: Path, advantage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "GRPOTrainer", Recorder)
    trainer = trainer_with(policy, tmp_path, max_steps=1, **translated(advantage))
    trainer.batches = []
    trainer.train()
    ((theirs_B, ids, mask),) = trainer.batches
    reward_B = torch.tensor([float(m.sum()) + 0.3 * float(row[0]) for row, m in zip(ids, mask, strict=True)])
    ours_PG = advantage(Rewards(reward_B.view(-1, GROUP), mask.sum(1).view(-1, GROUP)))
    assert float(theirs_B.abs().max()) > 0.1
    torch.testing.assert_close(ours_PG.flatten(), theirs_B, rtol=1e-5, atol=1e-5)


def test_a_translation_that_holds_only_somewhere_says_so() -> None:
    sums = (TokenEntropy(aggregation="sequence_sum"), PPOClipToken(aggregation="sequence_sum"))
    for objective in (K3(), CISPO(minimum=0.5), GroupNormalized(eps=1e-6), *sums):
        with pytest.raises(AssertionError, match="the translation holds when"):
            translated(objective)


def test_rloo_spellings() -> None:
    """What `test_rloo.py` trains with is what is printed."""
    assert translated(PPOClip(clip=0.1)) == {"epsilon": 0.1, "epsilon_high": None}
    assert translated(KL(coef=0.3)) == {"beta": 0.3}

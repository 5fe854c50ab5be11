"""TRL's trainers of preferences and our losses on the same pairs: loss, gradient, and the weights after three steps.

`objectives/other_libraries.yaml` says which trainer has each of our losses and how TRL spells its fields. That is
evaluated with the loss's own fields and handed to TRL's config. A policy that is not its reference sees a batch of
completions of unequal lengths; ours comes in micro-batches. Where the two differ by choice, a test says how.
"""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tiny_models import EOS, WORDS, tiny_policy
from torch import Tensor
from torch.utils.data import DataLoader
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, RewardConfig, RewardTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from overopt.config import name_of
from overopt.engine.head import logps_of_trees
from overopt.engine.optimizer import SGD, Constant, Optimizer
from overopt.engine.packing import Tree
from overopt.models.policy import Policy
from overopt.models.reward_model import RewardModel
from overopt.objectives.dictionary import dictionary, find_objectives
from overopt.objectives.pair_losses import CPO, DPO, IPO, KTO, ORPO, RPO, AlphaPO, Hinge, SimPO
from overopt.objectives.reward_losses import BradleyTerry
from overopt.training.preference_step import PreferenceStep, preference_batch
from overopt.training.reference_logps import Item
from overopt.training.stages import reward_model

PAIRS, LR, STEPS = 6, 0.05, 3
TRAINERS: dict[str, tuple[Any, Any]] = {
    "DPOTrainer": (DPOTrainer, DPOConfig),
    "CPOTrainer": (CPOTrainer, CPOConfig),
    "ORPOTrainer": (ORPOTrainer, ORPOConfig),
    "KTOTrainer": (KTOTrainer, KTOConfig),
    "RewardTrainer": (RewardTrainer, RewardConfig),
}


def random_trees(seed: int, prompt_tokens: tuple[int, int] = (1, 4)) -> list[Tree]:
    """Pairs of completions of 1 to 7 tokens, EOS included."""
    draw = random.Random(seed)

    def words(low: int, high: int) -> list[int]:
        return [draw.randrange(2, len(WORDS)) for _ in range(draw.randint(low, high))]

    return [Tree(words(*prompt_tokens), [[*words(0, 6), EOS], [*words(0, 6), EOS]]) for _ in range(PAIRS)]


def text(tokens: Any) -> str:
    return " ".join(WORDS[token] for token in tokens if token != EOS)


def as_dataset(trees: list[Tree]) -> Dataset:
    rows = [(text(t.prompt), *(f" {text(c)}" for c in t.completions)) for t in trees]
    return Dataset.from_list([{"prompt": p, "chosen": c, "rejected": r} for p, c, r in rows])


def translated(objective: Any) -> tuple[str, dict[str, Any]]:
    """TRL's trainer, and the arguments of its config."""
    spelled = dict(dictionary(name_of(type(objective)))[0]["elsewhere"]["trl"])
    fields = {name: getattr(objective, name) for name in type(objective).__pydantic_fields__}
    when = spelled.pop("when", "True")
    assert eval(when, {}, fields), f"{objective}: the translation holds when {when}"
    trainer = spelled.pop("trainer")
    return trainer, {name: eval(expression, {}, fields) for name, expression in spelled.items()}


def moved(policy: Policy, seed: int) -> Policy:
    """The policy with weights elsewhere, so that log-ratios of either sign come up."""
    other, generator = policy.frozen_copy(), torch.Generator().manual_seed(seed)
    other.model.requires_grad_(True)
    with torch.no_grad():
        for p in other.model.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=generator))
    return other


def trainer_of(name: str, model: Any, reference: Policy, trees: list[Tree], folder: Path, **arguments: Any) -> Any:
    """A TRL trainer whose every step sees all of the pairs, and takes a plain gradient step."""
    trainer_class, config_class = TRAINERS[name]
    config = config_class(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=2 * PAIRS if name == "KTOTrainer" else PAIRS,
        max_steps=STEPS,
        learning_rate=LR,
        lr_scheduler_type="constant",
        optim="sgd",
        weight_decay=0.0,
        max_grad_norm=1e9,
        max_length=64,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        remove_unused_columns=False,
        **arguments,
    )
    compared = {"ref_model": copy.deepcopy(reference.model)} if name in ("DPOTrainer", "KTOTrainer") else {}
    return trainer_class(
        model=model,
        args=config,
        train_dataset=as_dataset(trees),
        processing_class=reference.tokenizer,
        **compared,
    )


def examples(name: str, trainer: Any, trees: list[Tree]) -> list[dict[str, Any]]:
    """What TRL made of the pairs; for KTO with our mismatched completions: the next pair's chosen one."""
    if name != "KTOTrainer":
        rows: list[dict[str, Any]] = list(trainer.train_dataset)
        return rows
    following = [tree.completions[0] for tree in trees[1:] + trees[:1]]
    return [
        {"prompt_ids": t.prompt, "completion_ids": t.completions[i], "KL_completion_ids": other, "label": i == 0}
        for i in (0, 1)
        for t, other in zip(trees, following, strict=True)
    ]


def gradient(loss: Tensor, parameters: Any) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(parameters))])


def flat(model: Any) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def ours(loss: Any, policy: Policy, reference: Policy, trees: list[Tree]) -> tuple[list[float], Tensor]:
    """Our losses of three plain gradient steps, and the first gradient; the policy moves."""
    optimizer = Optimizer(policy.parameters(), SGD(), LR, Constant(), STEPS)
    update = PreferenceStep(policy, reference, optimizer, loss, 1.0, None)
    batch = update.batch([Item([tree]) for tree in trees], reference, 160)
    losses, first = [], torch.empty(0)
    for step in range(1, STEPS + 1):
        metrics, _ = update.descend(batch, {}, 40)
        if step == 1:
            first = torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])
        losses.append(metrics["loss"])
        optimizer.step(step, None)
    return losses, first


def loss_of(trainer: Any, batch: Any) -> Tensor:
    loss: Tensor = trainer.compute_loss(trainer.model, dict(batch))
    return loss


SHARED: list[Any] = [
    DPO(beta=0.3),
    DPO(beta=0.3, label_smoothing=0.2, smoothing="robust"),
    IPO(tau=0.3, length="mean"),
    Hinge(beta=0.3),
    RPO(beta=0.3, nll_weight=0.7, nll="token_mean"),
    SimPO(alpha=2.0, gamma=0.5),
    SimPO(alpha=0.5, gamma=2.0),
    AlphaPO(),
    AlphaPO(alpha=-0.4, beta=1.5, gamma=0.1),
    CPO(),
    CPO(beta=0.5, nll_weight=0.3),
    ORPO(odds_weight=0.4),
    KTO(beta=0.3),
    KTO(beta=0.3, desirable_weight=0.7, undesirable_weight=1.3),
]


def test_every_loss_that_trl_has_is_compared() -> None:
    losses = [(row, cls) for row, cls in find_objectives() if row["kind"] in ("pair_loss", "ranking_loss")]
    spelled = {cls for row, cls in losses if "trl" in row["elsewhere"]}
    assert spelled == set(map(type, SHARED))


@pytest.mark.parametrize("loss", SHARED, ids=repr)
def test_loss_gradient_and_three_steps_agree(loss: Any, tmp_path: Path) -> None:
    """ORPO sees prompts of one token, of which there is nothing to predict: TRL's likelihood includes the prompt."""
    name, arguments = translated(loss)
    trees = random_trees(1, (1, 1) if isinstance(loss, ORPO) else (1, 4))
    reference = tiny_policy("gpt_neox")
    policy = moved(reference, 2)
    trainer = trainer_of(name, copy.deepcopy(policy.model), reference, trees, tmp_path, **arguments)
    rows = examples(name, trainer, trees)
    trainer.get_train_dataloader = lambda: DataLoader(rows, batch_size=len(rows), collate_fn=trainer.data_collator)
    their_loss = loss_of(trainer, trainer.data_collator(rows))
    their_gradient = gradient(their_loss, trainer.model.parameters())
    trainer.train()
    losses, our_gradient = ours(loss, policy, reference, trees)
    assert losses[0] == pytest.approx(float(their_loss.detach()), rel=1e-5, abs=1e-5)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-4, atol=1e-5)
    assert len(set(losses)) > 1 and float(our_gradient.norm()) > 1e-2
    torch.testing.assert_close(flat(policy.model), flat(trainer.model), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("centering", [0.0, 0.1])
def test_bradley_terry_agrees(centering: float, tmp_path: Path) -> None:
    loss, trees, reference = BradleyTerry(centering=centering), random_trees(1), tiny_policy("gpt_neox")
    model = RewardModel.from_policy(reference, torch.Generator().manual_seed(0))
    name, arguments = translated(loss)
    trainer = trainer_of(name, copy.deepcopy(model.model), reference, trees, tmp_path, **arguments)
    their_loss = loss_of(trainer, trainer.data_collator(list(trainer.train_dataset)))
    our_loss, _ = reward_model.descend(model, loss, trees, 40)
    assert our_loss == pytest.approx(float(their_loss.detach()), rel=1e-5, abs=1e-5)
    theirs = gradient(their_loss, (p for p in trainer.model.parameters() if p.requires_grad))
    grads = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(grads, theirs, rtol=1e-4, atol=1e-5)


# --- Where we differ by choice


def their_loss_of(name: str, trees: list[Tree], folder: Path, **arguments: Any) -> tuple[float, Policy, Policy, Any]:
    reference = tiny_policy("gpt_neox")
    policy = moved(reference, 2)
    trainer = trainer_of(name, copy.deepcopy(policy.model), reference, trees, folder, **arguments)
    loss = loss_of(trainer, trainer.data_collator(examples(name, trainer, trees)))
    return float(loss.detach()), policy, reference, trainer


def test_ipo_of_sums_is_another_loss(tmp_path: Path) -> None:
    """TRL divides log-ratios by lengths and has no other way; ours may also sum, as the paper's formula does."""
    trees = random_trees(1)
    with pytest.raises(AssertionError, match="the translation holds when length == 'mean'"):
        translated(IPO(length="sum"))
    theirs, policy, reference, _ = their_loss_of("DPOTrainer", trees, tmp_path, loss_type="ipo", beta=0.3)
    assert abs(ours(IPO(tau=0.3, length="sum"), policy, reference, trees)[0][0] - theirs) > 0.1


def test_conservative_smoothing_is_ours_alone(tmp_path: Path) -> None:
    """TRL 1.16 takes `label_smoothing` with `sigmoid` and does not use it."""
    trees, smoothed = random_trees(1), {"loss_type": "sigmoid", "label_smoothing": 0.2, "beta": 0.3}
    with pytest.raises(AssertionError, match="the translation holds when label_smoothing == 0 or"):
        translated(DPO(label_smoothing=0.2))
    theirs, policy, reference, _ = their_loss_of("DPOTrainer", trees, tmp_path, **smoothed)
    other = moved(reference, 2)
    assert ours(DPO(beta=0.3), policy, reference, trees)[0][0] == pytest.approx(theirs, rel=1e-5)
    assert abs(ours(DPO(beta=0.3, label_smoothing=0.2), other, reference, trees)[0][0] - theirs) > 1e-2


def test_trls_orpo_imitates_the_prompt_too(tmp_path: Path) -> None:
    """The whole difference: a mean over the tokens of prompt and completion in place of one over the completion's."""
    trees = random_trees(1, (2, 4))
    theirs, policy, reference, _ = their_loss_of("ORPOTrainer", trees, tmp_path, **translated(ORPO())[1])

    def mean_nll(rows: list[Tree]) -> float:
        logps = logps_of_trees(policy, rows, 1.0, 10_000)
        return -float(logps.logp_BT.sum() / logps.mask_BT.sum())

    alone = mean_nll([Tree(t.prompt, [t.completions[0]]) for t in trees])
    whole = mean_nll([Tree(t.prompt[:1], [[*t.prompt[1:], *t.completions[0]]]) for t in trees])
    our_loss = ours(ORPO(), policy, reference, trees)[0][0]
    assert theirs - our_loss == pytest.approx(whole - alone, abs=1e-5)
    assert abs(theirs - our_loss) > 1e-2


def test_trls_kto_mismatches_with_rejected_completions_too(tmp_path: Path) -> None:
    """It rotates its rows, chosen and rejected alike, as they lie in the data; ours are all chosen ones."""
    trees = random_trees(1)
    *_, trainer = their_loss_of("KTOTrainer", trees, tmp_path, **translated(KTO())[1])
    theirs = {tuple(row["KL_completion_ids"]) for row in trainer.train_dataset}
    chosen, rejected = ({tuple(t.completions[i]) for t in trees} for i in (0, 1))
    assert theirs & rejected
    assert {
        tuple(t.completions[2]) for t in preference_batch([Item([tree]) for tree in trees], True, None, 1.0, 100).trees
    } == chosen

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import tiny
import torch
from tiny import Chain

from overopt.config import load
from overopt.engine.memory import TokenBudget
from overopt.engine.optimizer import Optimizer
from overopt.models.load import load_policy
from overopt.models.text import Codec
from overopt.records import load_run
from overopt.training.data import Limits, encode_prompts
from overopt.training.policy_step import needs
from overopt.training.stages.online import Online, policy_step, rollout_worker
from overopt.types import Dropped

ONE = {"epochs": 1, "minibatches": 1}
SGD = {"name": "sgd"}


def configured(chain: Chain, **changes: Any) -> Online:
    config: Online = load({"online": Online}, tiny.online(chain, optimizer=SGD, schedule="constant", **changes))
    return config


def step(
    config: Online,
    chain: Chain,
    advantage: float = 0.0,
    coefs: tuple[float, ...] = (1.0,),
    weights: torch.Tensor | None = None,
) -> Any:
    """One update of plain gradient descent: the movement of the weights, and the statistics."""
    policy = load_policy(load_run(chain.policy).checkpoint(), torch.device("cpu"))
    reference = policy.frozen_copy()
    with torch.no_grad():
        reference.head.weight.mul_(0.8)
    codec = Codec(policy.tokenizer, config.task.prompt_style)
    prompts = encode_prompts(codec, config.task.prompts(0, Dropped()), Limits(512, 24), Dropped())[:4]
    budget = TokenBudget(config.compute.budget)
    worker = rollout_worker(config, policy, reference, None, codec)
    experience = replace(worker.collect(prompts, 1, config.compute.evaluation_budget), weight_B=weights)
    before = torch.cat([p.detach().flatten().clone() for p in policy.parameters()])
    optimizer = Optimizer(policy.parameters(), config.optimizer, config.lr, config.schedule, config.steps)
    update = policy_step(config, policy, reference, optimizer)
    statistics = update(experience, advantage * torch.linspace(-1, 1, 8), coefs, 1, budget)
    after = torch.cat([p.detach().flatten() for p in policy.parameters()])
    return after - before, statistics.metrics(), experience


def regularized(chain: Chain, name: str, **changes: Any) -> Online:
    return configured(chain, loss_regularizers=[{"name": name, "coef": 1.0, **changes}], reward_model=None, **ONE)


def test_what_the_losses_ask_for(chain: Chain) -> None:
    plain = configured(chain)
    assert needs(plain.loss, plain.loss_regularizers) == frozenset()
    dense = configured(chain, loss="lco", loss_regularizers=["k3", "token_kl_reverse"])
    assert needs(dense.loss, dense.loss_regularizers) == {
        *("logits", "old_logits"),
        *("reference", "ref_logits"),
    }


def test_a_regularizer_descends_with_its_coefficient_beside_the_loss(chain: Chain) -> None:
    """Plain gradient descent is linear in the loss: movements add up."""
    config = regularized(chain, "k2")
    alone, numbers, experience = step(config, chain)
    both, _, _ = step(config, chain, advantage=1.0)
    plain, _, _ = step(config, chain, advantage=1.0, coefs=(0.0,))
    assert float(alone.norm()) > 1e-5
    torch.testing.assert_close(both, plain + alone, rtol=1e-3, atol=1e-7)
    d_B = experience.rollouts.sequence_kl_B
    assert numbers["loss/k2"] == pytest.approx(float((d_B**2 / 2).mean()), rel=1e-3)
    assert numbers["loss"] == pytest.approx(numbers["loss/k2"], rel=1e-6)


@pytest.mark.parametrize("name", ["token_kl_reverse", "token_kl_forward"])
def test_exact_divergences_are_those_of_the_two_policies(chain: Chain, name: str) -> None:
    """At the reference itself they are 0; here the reference's head was scaled, and minibatches do not matter."""
    _, numbers, _ = step(regularized(chain, name, aggregation="token_mean"), chain)
    assert 0 < numbers[f"loss/{name}"] < 1


def test_exact_entropy_is_what_the_sampler_saw(chain: Chain) -> None:
    _, numbers, experience = step(regularized(chain, "token_entropy"), chain)
    assert numbers["loss/token_entropy"] == pytest.approx(-experience.rollouts.token_entropy, rel=1e-4)


LOSSES = [
    *[{"name": "ppo_clip_token", "aggregation": a} for a in ("sequence_mean", "token_mean", "fixed_length")],
    *[{"name": name} for name in ("reinforce", "gspo", "cispo", "lco")],
]
REGULARIZERS = [{"name": name} for name in ("k1", "k3", "token_kl_reverse", "token_kl_forward", "token_entropy")]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: "-".join(loss.values()))
def test_micro_batches_change_only_rounding(chain: Chain, loss: dict[str, Any]) -> None:
    """Also for what normalizes by the lengths of the whole minibatch, and for dense logits."""
    coefs, moved = (0.5,) * len(REGULARIZERS), []
    for budget in (16_384, 50):  # all at once; every prompt by itself
        compute = tiny.SHARED["compute"] | {"token_budget": budget}
        config = configured(chain, loss=loss, loss_regularizers=REGULARIZERS, compute=compute, epochs=1)
        moved.append(step(config, chain, advantage=1.0, coefs=coefs))
    (whole, numbers, _), (parts, part_numbers, _) = moved
    assert float(whole.norm()) > 1e-4
    torch.testing.assert_close(parts, whole, rtol=1e-2, atol=2e-6)
    for name in numbers.keys() - {"sampler_gap"}:
        assert tiny.close(numbers[name], part_numbers[name], 1e-3), name


def test_later_epochs_distill_towards_the_policy_that_sampled(chain: Chain) -> None:
    """LCO without advantage is a pull back to the old policy: at first there is nothing to pull."""
    config = configured(chain, loss="lco", epochs=3, minibatches=1, reward_model=None)
    still, numbers, _ = step(config, chain, advantage=0.0, coefs=())
    assert numbers["loss"] == pytest.approx(0, abs=1e-6) and float(still.abs().max()) < 1e-6
    moving = configured(chain, loss="lco", epochs=3, minibatches=1, loss_regularizers=["token_entropy"], lr=0.1)
    _, numbers, _ = step(moving, chain, advantage=0.0, coefs=(5.0,))
    assert numbers["loss"] - numbers["loss/token_entropy"] > 1e-4  # the old logits stayed where they were


def test_the_gradient_is_clipped_to_the_norm_that_is_set(chain: Chain) -> None:
    """Plain gradient descent moves by lr times the gradient's norm, or by lr times what it was clipped to."""
    free, numbers, _ = step(configured(chain, lr=0.1, **ONE), chain, advantage=1.0, coefs=())
    assert float(free.norm()) == pytest.approx(0.1 * numbers["grad_norm"], rel=1e-3)
    limit = numbers["grad_norm"] / 4
    clipped, again, _ = step(configured(chain, lr=0.1, grad_clip=limit, **ONE), chain, advantage=1.0, coefs=())
    assert float(clipped.norm()) == pytest.approx(0.1 * limit, rel=1e-3)
    assert again["grad_norm"] == pytest.approx(numbers["grad_norm"], rel=1e-5)  # as it was before clipping
    torch.testing.assert_close(clipped * 4, free, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize(("epochs", "minibatches"), [(1, 2), (2, 1)])
def test_the_sampler_is_compared_before_the_first_update_only(chain: Chain, epochs: int, minibatches: int) -> None:
    """After it old and new differ because the policy has moved, which is no fault of the sampler."""
    config = configured(chain, lr=1.0, epochs=epochs, minibatches=minibatches)
    moved, numbers, _ = step(config, chain, advantage=1.0, coefs=())
    assert float(moved.norm()) > 0.1 and abs(numbers["ratio_mean"] - 1) > 1e-2
    assert 0 <= numbers["sampler_gap"] < 1e-4


def test_weights_of_completions_weigh_their_losses(chain: Chain) -> None:
    """Those of an importance correction: a weight of 1 changes no bit, and the movement is linear in it."""
    config = regularized(chain, "k2")
    plain, numbers, _ = step(config, chain, advantage=1.0)
    same, _, _ = step(config, chain, advantage=1.0, weights=torch.ones(8))
    assert torch.equal(same, plain)
    first, second = torch.arange(8) < 3, torch.arange(8) >= 3
    parts = [step(config, chain, advantage=1.0, weights=0.5 * rows.float())[0] for rows in (first, second)]
    assert all(float(part.norm()) > 1e-6 for part in parts)
    torch.testing.assert_close(parts[0] + parts[1], plain / 2, rtol=1e-3, atol=1e-7)
    _, halved, _ = step(config, chain, advantage=1.0, weights=torch.full((8,), 0.5))
    assert halved["loss"] == pytest.approx(numbers["loss"] / 2, rel=1e-5)

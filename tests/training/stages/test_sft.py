from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from tiny import Chain

from overopt.engine.packing import Tree
from overopt.errors import UserError
from overopt.records import load_run
from overopt.training.stages import sft
from overopt.training.train import train

DEMONSTRATIONS = [Tree([3, 4, 5], [[20, 21, 1]]), Tree([6, 7], [[22, 1]]), Tree([8], [[23, 24, 25, 1]])]


def by_hand(on_prompt: bool) -> tuple[float, torch.Tensor]:
    """Mean cross-entropy over all targets of a batch, and its gradient at the head, from the plain model."""
    policy = tiny.policy()
    losses = []
    for tree in DEMONSTRATIONS:
        ids = torch.tensor([[*tree.prompt, *tree.completions[0]]])
        logp = policy.model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        losses.append(-logp if on_prompt else -logp[len(tree.prompt) - 1 :])
    loss = torch.cat(losses).mean()
    loss.backward()
    return float(loss.detach()), policy.head.weight.grad


@pytest.mark.parametrize(("on_prompt", "targets"), [(False, 9), (True, 12)])
@pytest.mark.parametrize("token_budget", [1, 1000])
def test_cross_entropy_with_and_without_the_prompt(on_prompt: bool, targets: int, token_budget: int) -> None:
    assert sum(len(t.completions[0]) + (len(t.prompt) - 1) * on_prompt for t in DEMONSTRATIONS) == targets
    policy = tiny.policy()
    loss = sft.descend(policy, DEMONSTRATIONS, on_prompt, token_budget)
    expected, gradient = by_hand(on_prompt)
    assert loss == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(policy.head.weight.grad, gradient, atol=1e-5, rtol=1e-4)


def test_the_record(tmp_path: Path) -> None:
    run = train(tiny.sft(checkpoint_every=2, schedule={"name": "linear", "warmup": 2}), tmp_path / "run")
    assert [row["step"] for row in tiny.rows(run)] == [1, 2, 3]
    assert all(row.keys() == {"step", "loss", "lr", "grad_norm"} for row in tiny.rows(run))
    assert run.series("lr")[1] == pytest.approx([0.5e-2, 1e-2 * 2 / 3, 1e-2 / 3])
    assert run.checkpoints() == [2, 3]
    assert [row["step"] for row in run.evaluations()] == [2, 3]
    assert run.sample_steps() == [2, 3]
    assert (run.status, run.info["split"]) == ("finished", "tuning")


def test_the_chain_s_policy_has_learnt_to_end(chain: Chain) -> None:
    run = load_run(chain.policy)
    loss = run.series("loss")[1]
    assert loss[0] == pytest.approx(4.96, abs=0.15)  # near log 142, the number of words
    assert loss[-1] < 2.5
    assert run.evaluations()[-1]["eos_rate"] > 0.5


def test_golden_values(short_chain: Chain) -> None:
    assert load_run(short_chain.policy).series("loss")[1] == pytest.approx([4.9713, 4.88444, 4.89359], rel=1e-3)


def test_micro_batches_change_only_rounding(tmp_path: Path) -> None:
    whole = train(tiny.sft(), tmp_path / "whole")
    compute = tiny.SHARED["compute"] | {"token_budget": 60}
    parts = train(tiny.sft(compute=compute), tmp_path / "parts")
    assert run_values(parts) == pytest.approx(run_values(whole), rel=1e-4)


def run_values(run: object) -> list[float]:
    return [row[name] for row in tiny.rows(run) for name in ("loss", "grad_norm")]  # type: ignore[arg-type]


def test_without_a_number_of_steps_one_pass(tmp_path: Path) -> None:
    task = tiny.TASK | {"demonstration_count": 40}
    assert len(tiny.rows(train(tiny.sft(task=task, steps=None), tmp_path / "run"))) == 40 // 16


def test_training_goes_on_from_a_run_or_a_folder(chain: Chain, tmp_path: Path) -> None:
    paths = [chain.policy, chain.policy / "checkpoints" / "step-60"]
    runs = [train(tiny.sft(model={"name": "pretrained", "path": str(p)}), tmp_path / p.name) for p in paths]
    assert tiny.metrics(runs[0]) == tiny.metrics(runs[1])
    assert tiny.rows(runs[0])[0]["loss"] < 2.5
    assert [run.info["parents"][0]["role"] for run in runs] == ["model", "model"]


def test_bad_input_leaves_nothing_behind(chain: Chain, tmp_path: Path) -> None:
    out = tmp_path / "new" / "run"
    for changes, message in [
        ({"batch_size": 1000}, "batch_size: a batch needs 1000 records, but there are 256 to train on"),
        ({"max_prompt_tokens": 3}, "batch_size: a batch needs 16 records, but there are 0 to train on"),
        ({"model": tiny.MODEL | {"heads": 3}}, "model: cannot build"),
        ({"model": {"name": "pretrained", "path": str(chain.reward_model)}}, "model: .* stage reward_model; needed"),
        ({"lr": True}, "lr: expected a number"),
        ({"lr": 0}, "lr: must be > 0"),
        ({"learning_rate": 1}, "learning_rate: "),
    ]:
        with pytest.raises(UserError, match=message):
            train(tiny.sft(**changes), out)
        assert not out.parent.exists(), message


def test_long_prompts_are_counted_in_the_record(tmp_path: Path) -> None:
    dropped = train(tiny.sft(steps=1, max_prompt_tokens=25), tmp_path / "run").info["dropped"]
    assert 0 < dropped["demonstrations"]["prompt longer than 25 tokens"] < 256
    assert 0 < dropped["evaluation"]["prompt longer than 25 tokens"] < 16

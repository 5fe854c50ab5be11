from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import tiny
import torch
from tiny import Chain

from overopt.config import load
from overopt.engine.devices import Device
from overopt.engine.head import target_logps
from overopt.engine.packing import pack
from overopt.planning import seconds
from overopt.planning.seconds import DataSheetSpeed, MeasuredSpeed, prompts_at_a_time, random_trees, seconds_of
from overopt.planning.work import Shape, Trees, Work
from overopt.training.stages import STAGES

SHAPE = Shape(parameters=1000, linear=600, head=200, hidden=10, layers=2, vocabulary=20, key_width=20)
BATCH = Trees(count=4, group=2, prompt=6, completion=2, longest=(6, 2))


class Counting:
    """A speed at which a tree of a pass takes a second, of an update three, and of sampling ten."""

    optimizer = 0.5

    def forward(self, trees: Trees) -> float:
        return trees.count

    def update(self, trees: Trees) -> float:
        return 3 * trees.count

    def sampling(self, trees: Trees) -> float:
        return 10 * trees.count


SPEED: Any = Counting()


def test_the_parts_of_a_stage() -> None:
    heldout = replace(BATCH, count=5)
    work = Work(
        7, BATCH, policies=2, updates=2, optimizer_steps=4, passes=[(1.5, BATCH), (0.0, heldout)], samplings=[BATCH],
        evaluations=3, answers=replace(BATCH, count=6), answered=2, evaluation_passes=[heldout, BATCH],
        pairs=replace(BATCH, count=100), first=[heldout],
    )  # fmt: skip
    found = seconds_of(work, SPEED)
    assert found.step == {"sampling": 40, "passes": 6, "updates": 24, "optimizer": 2}
    assert found.outside == {"evaluations": 3 * (5 + 4 + 2 * 60), "pairs": 1000, "passes over all pairs": 5}
    assert seconds_of(Work(7, BATCH, policies=1), SPEED).outside == {}


def test_a_gpu_is_bound_by_arithmetic_and_by_reading_the_weights() -> None:
    device = Device(fp32=1, bf16=2, memory=1, bandwidth=1, source="made up")
    speed = DataSheetSpeed(SHAPE, device, bf16=False, evaluation_budget=20)
    passed = BATCH.flops(SHAPE) / 1e12 / 0.35
    assert speed.forward(BATCH) == pytest.approx(passed) and speed.update(BATCH) == pytest.approx(3 * passed)
    assert prompts_at_a_time(BATCH, 20) == 2  # of 6 + 2 * 2 tokens
    assert speed.sampling(BATCH) == pytest.approx(2 * 2 * 4000 / 1e9 / 0.35 + passed)
    half = DataSheetSpeed(SHAPE, device, bf16=True, evaluation_budget=20)
    assert half.sampling(BATCH) == pytest.approx(speed.sampling(BATCH) / 2)


@pytest.fixture
def measured(chain: Chain) -> MeasuredSpeed:
    online = load(STAGES, tiny.online(chain))
    config = tiny.policy().model.config
    return MeasuredSpeed(online, config, Shape.of(config), Work(3, BATCH, policies=1))


def test_every_kind_of_pass_is_measured(measured: MeasuredSpeed) -> None:
    for found in (measured.forward(BATCH), measured.update(BATCH), measured.sampling(BATCH), measured.optimizer):
        assert 0 < found < 5
    double = replace(BATCH, count=8)
    assert measured.forward(double) == pytest.approx(2 * measured.forward(BATCH))
    assert measured.update(double) == pytest.approx(2 * measured.update(BATCH))


def test_sampling_costs_a_token_whatever_the_rows_and_each_row_more(
    measured: MeasuredSpeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand: a prompt takes 1 s, a token 2 s, a row's token 0.1 s."""
    monkeypatch.setattr(
        measured, "_sample", lambda trees, prompts, n: prompts + (n - 1) * (2 + 0.1 * prompts * trees.group)
    )
    trees = Trees(count=10, group=3, prompt=6, completion=5, longest=(6, 20))
    assert measured.sampling(trees) == pytest.approx(10 * 1 + 19 * 2 + 10 * 3 * 5 * 0.1)
    monkeypatch.setattr(measured, "evaluation_budget", 66)  # one prompt at a time
    assert measured.sampling(trees) == pytest.approx(10 * 1 + 10 * 19 * 2 + 10 * 3 * 5 * 0.1)


def test_random_trees_have_the_mean_lengths() -> None:
    trees = random_trees(BATCH, 20)
    assert [(len(t.prompt), [len(c) for c in t.completions]) for t in trees] == [(6, [2, 2])] * 4


def test_an_update_on_all_tokens_learns_the_prompts_too() -> None:
    single = replace(BATCH, group=1, targets="all")
    trees, ours, theirs = random_trees(single, 20), tiny.policy(), tiny.policy()
    seconds.descend(ours, trees, single)
    packed = pack(trees, prompt_targets=True)
    target_logps(theirs, theirs.hidden(packed), packed, 1.0).sum().backward()
    assert ours.head.weight.grad is not None and torch.equal(ours.head.weight.grad, theirs.head.weight.grad)


def test_a_clock_may_be_another(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([10.0, 12.5])
    monkeypatch.setattr(seconds, "CLOCK", lambda: next(ticks))
    assert seconds.seconds(lambda: None) == 2.5

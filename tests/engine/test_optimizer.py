from __future__ import annotations

import sys
from math import isnan
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load_file, save_file

from overopt.engine.optimizer import (
    SGD,
    AdamW,
    AdamW8bit,
    Constant,
    CosineDecay,
    LinearDecay,
    Optimizer,
    OptimizerSettings,
    Schedule,
)
from overopt.errors import UserError


@pytest.mark.parametrize(
    ("schedule", "steps", "factors"),
    [
        (Constant(), 3, [1, 1, 1]),
        (Constant(warmup=4), 6, [0.25, 0.5, 0.75, 1, 1, 1]),
        (LinearDecay(), 4, [1, 0.75, 0.5, 0.25]),
        (LinearDecay(warmup=2, floor=0.3), 10, [0.5, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.3, 0.3]),
        (CosineDecay(), 4, [1, 0.8535534, 0.5, 0.1464466]),
        (CosineDecay(warmup=2, floor=0.2), 4, [0.5, 0.8828427, 0.6, 0.3171573]),
    ],
)
def test_schedule_by_hand(schedule: Schedule, steps: int, factors: list[float]) -> None:
    assert [schedule(step, steps) for step in range(steps)] == pytest.approx(factors)


def parameter(*values: float, gradient: list[float] | None = None) -> torch.nn.Parameter:
    made = torch.nn.Parameter(torch.tensor(values))
    made.grad = None if gradient is None else torch.tensor(gradient)
    return made


def test_the_first_step_by_hand() -> None:
    """The first AdamW step is lr g / (|g| + eps), after a decay of lr * weight_decay."""
    weight = parameter(1.0, 1.0, gradient=[3.0, -4.0])
    optimizer = Optimizer([weight], AdamW(eps=1.0, weight_decay=0.5), lr=0.1, schedule=Constant(), steps=1)
    norm = optimizer.step(1, clip=None)
    assert float(norm) == pytest.approx(5.0)
    assert weight.tolist() == pytest.approx([0.95 - 0.1 * 3 / 4, 0.95 + 0.1 * 4 / 5])
    assert weight.grad is None


def test_two_steps_of_sgd_by_hand() -> None:
    """v = 3 + 0.5 * 1, then 0.2 v + 3 + 0.5 w; the rate halves."""
    weight = parameter(1.0, gradient=[3.0])
    optimizer = Optimizer([weight], SGD(momentum=0.2, weight_decay=0.5), lr=0.1, schedule=LinearDecay(), steps=2)
    optimizer.step(1, clip=None)
    assert weight.item() == pytest.approx(1 - 0.1 * 3.5)
    weight.grad = torch.tensor([3.0])
    optimizer.step(2, clip=None)
    assert weight.item() == pytest.approx(0.65 - 0.05 * (0.2 * 3.5 + 3 + 0.5 * 0.65))


def noisy(settings: AdamW | AdamW8bit, steps: range, optimizer: Optimizer | None = None) -> Optimizer:
    """Steps over a matrix and a vector, whose gradients are functions of the step."""
    if optimizer is None:
        weights = [torch.nn.Parameter(torch.linspace(-1, 1, n).reshape(shape)) for n, shape in SIZES]
        optimizer = Optimizer(weights, settings, lr=1e-2, schedule=Constant(), steps=10)
    for step in steps:
        for weight in optimizer.parameters:
            weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(step))
        optimizer.step(step, clip=None)
    return optimizer


SIZES = [(8192, (64, 128)), (8192, (128, 64)), (10, (10,))]


def test_eight_bits_are_close_to_thirty_two() -> None:
    pytest.importorskip("bitsandbytes")
    ours, plain = noisy(AdamW8bit(weight_decay=0.1), range(1, 6)), noisy(AdamW(weight_decay=0.1), range(1, 6))
    gaps = [(a - b).abs().max().item() for a, b in zip(ours.parameters, plain.parameters, strict=True)]
    assert 0 < gaps[0] < 5e-3 and gaps[2] < 1e-6  # five steps move a weight by about 5e-2; the vector is in float32
    kept = sum(t.nbytes for name, t in ours.tensors().items() if name.startswith("0."))
    assert kept < 8192 * AdamW8bit.state_bytes + 2 * 1024 + 8 + 1  # two tables, and the count of steps


def test_an_8bit_optimizer_goes_on_to_the_last_bit(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    whole = noisy(AdamW8bit(), range(1, 6))
    first = noisy(AdamW8bit(), range(1, 4))
    save_file(first.tensors(), tmp_path / "state")  # as TrainerState keeps them: nothing shares its memory
    second = noisy(AdamW8bit(), range(0))
    for weight, other in zip(second.parameters, first.parameters, strict=True):
        weight.data.copy_(other.data)
    second.restore(load_file(tmp_path / "state"))
    noisy(AdamW8bit(), range(4, 6), second)
    assert all(torch.equal(a, b) for a, b in zip(second.parameters, whole.parameters, strict=True))


def test_the_library_of_eight_bits_is_named_if_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(UserError, match="pip install 'overopt\\[bitsandbytes\\]'"):
        noisy(AdamW8bit(), range(0))


def test_an_optimizer_is_chosen_by_name() -> None:
    read = TypeAdapter(OptimizerSettings).validate_python
    assert read("sgd") == SGD()
    assert read({"name": "adamw", "eps": 1e-8}) == AdamW(eps=1e-8)
    with pytest.raises(ValidationError, match="unknown name 'adam'.*valid: adamw, adamw_8bit, sgd"):
        read("adam")
    with pytest.raises(ValidationError, match="momentum"):
        SGD(momentum=1.0)


def test_clipping_scales_the_gradient_and_reports_its_norm_before() -> None:
    weights = [parameter(0.0, gradient=[3.0]), parameter(0.0, gradient=[4.0])]
    optimizer = Optimizer(weights, AdamW(eps=1.0), lr=0.1, schedule=Constant(), steps=1)
    assert float(optimizer.step(1, clip=1.0)) == pytest.approx(5.0)
    assert [w.item() for w in weights] == pytest.approx([-0.1 * 0.6 / 1.6, -0.1 * 0.8 / 1.8], rel=1e-4)


def test_a_small_gradient_is_not_clipped() -> None:
    weight = parameter(0.0, gradient=[0.5])
    optimizer = Optimizer([weight], AdamW(eps=1.0), lr=0.1, schedule=Constant(), steps=1)
    optimizer.step(1, clip=1.0)
    assert weight.item() == pytest.approx(-0.1 * 0.5 / 1.5)


def test_the_learning_rate_of_the_step_is_applied() -> None:
    weight = parameter(0.0)
    optimizer = Optimizer([weight], AdamW(eps=1e-12), lr=0.1, schedule=LinearDecay(warmup=2), steps=4)
    assert [optimizer.lr_at(step) for step in range(1, 5)] == pytest.approx([0.05, 0.075, 0.05, 0.025])
    places = []
    for step in range(1, 5):
        weight.grad = torch.ones(1)  # a constant gradient moves by exactly the learning rate
        optimizer.step(step, clip=None)
        places.append(weight.item())
    assert places == pytest.approx([-0.05, -0.125, -0.175, -0.2], rel=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_gradient_that_is_not_finite_leaves_everything_as_it_was(bad: float, clip: float | None) -> None:
    weights = [parameter(1.0, 2.0, gradient=[bad, 1.0]), parameter(3.0, gradient=[1.0])]
    optimizer = Optimizer(weights, AdamW(eps=1.0, weight_decay=0.5), lr=0.1, schedule=Constant(), steps=2)
    norm = float(optimizer.step(1, clip))
    assert isnan(norm) or norm == float("inf")
    assert [w.tolist() for w in weights] == [[1.0, 2.0], [3.0]]
    assert all(w.grad is None for w in weights)
    assert not optimizer.optimizer.state  # moments neither
    weights[1].grad = torch.tensor([4.0])
    assert float(optimizer.step(2, None)) == pytest.approx(4.0)
    assert weights[1].tolist() == pytest.approx([0.95 * 3 - 0.1 * 4 / 5])


def test_frozen_parameters_are_left_out() -> None:
    frozen, weight = parameter(1.0, gradient=[100.0]), parameter(1.0, gradient=[2.0])
    frozen.requires_grad_(False)
    optimizer = Optimizer([frozen, weight], AdamW(), lr=0.1, schedule=Constant(), steps=1)
    assert float(optimizer.step(1, None)) == pytest.approx(2.0)
    assert frozen.tolist() == [1.0]


def test_defaults_and_meaningless_settings() -> None:
    assert AdamW() == AdamW(betas=(0.9, 0.999), eps=1e-5, weight_decay=0.0)
    for wrong in ({"eps": 0.0}, {"weight_decay": -1.0}, {"betas": (0.9, 1.0)}):
        with pytest.raises(ValidationError):
            AdamW(**wrong)
    with pytest.raises(ValidationError):
        Constant(warmup=-1)
    with pytest.raises(ValidationError):
        LinearDecay(floor=1.0)
    with pytest.raises(ValidationError):
        CosineDecay(floor=-0.1)


def test_what_it_remembers_is_put_back_bit_for_bit() -> None:
    """Two steps, then a third by another optimizer that was given what the first remembers."""
    weights = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizers = [Optimizer([weight], AdamW(), 0.1, Constant(), 3) for weight in weights]
    for step in range(2):
        weights[0].grad = torch.tensor([1.0, 1e-7]) * (step + 1)
        optimizers[0].step(step + 1, None)
    remembered = optimizers[0].tensors()
    assert remembered.keys() == {"0.step", "0.exp_avg", "0.exp_avg_sq"} and float(remembered["0.step"]) == 2
    optimizers[1].restore({name: tensor.clone() for name, tensor in remembered.items()})
    with torch.no_grad():
        weights[1].copy_(weights[0])
    for weight, optimizer in zip(weights, optimizers, strict=True):
        weight.grad = torch.tensor([0.3, 0.7])
        optimizer.step(3, None)
    assert torch.equal(*weights)
    assert Optimizer([weights[0]], SGD(), 0.1, Constant(), 3).tensors() == {}

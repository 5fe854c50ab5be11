"""Axes and the names they give."""

from __future__ import annotations

from typing import Any

import pytest

from overopt.studies.axes import axes_at, axes_of, problems_in, run_name, value_text


def name(grid: dict[str, Any], *, lists: Any = None, seeds: tuple[int, ...] = (), of: str = "kl") -> str:
    """The name of the run with the last point of every axis."""
    axes = axes_of(grid, lists or {}, seeds)
    own = axes_at(axes, ("*", "online", of))
    return run_name(of, {axis: len(axis.points) - 1 for axis in axes}, own, axes)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.2, "0.2"), (1e-5, "1e-5"), (5e-4, "5e-4"), (1.5e-5, "1.5e-5"), (0.05, "0.05"),
        (2.5e10, "2.5e10"), (0.123456789, "0.123456789"), (3, "3"), (True, "true"),
        (None, "none"), ([], "none"), ("simpo", "simpo"), ("runs/sft", "sft"), ("a model/x y", "x_y"),
        ({"name": "simpo", "gamma": 1.0}, "simpo,gamma=1"), ({"name": "../x"}, ".._x"),
        ([{"name": "kl", "coef": 0.2}, "entropy_sum"], "kl,coef=0.2+entropy_sum"),
    ],
)  # fmt: skip
def test_a_value_as_part_of_a_name(value: Any, words: str) -> None:
    assert value_text(value) == words


def test_a_name_says_what_differs_and_the_seed_comes_last() -> None:
    assert name({"online": {"regularizers.0.coef": [0.1, 0.2]}}, seeds=(0, 1)) == "kl-coef=0.2-seed=1"
    assert name({"kl": {"loss.name": ["a", "b"]}}) == "kl-loss=b"


def test_addresses_with_the_same_end_are_told_apart() -> None:
    assert name({"kl": {"optimizer.eps": [1], "loss.eps": [2]}}) == "kl-optimizer.eps=1-loss.eps=2"
    both = {"regularizers.0.coef": [1], "regularizers.1.coef": [2]}
    assert name({"kl": both}) == "kl-regularizers.0.coef=1-regularizers.1.coef=2"


def test_words_of_the_file_and_settings_that_change_together() -> None:
    assert name({"kl": {"lr": {"low": 1e-5, "very high": 1}}}) == "kl-very_high"
    assert name({}, lists={"kl": [{"lr": 0.1, "loss.clip": 0.2}]}) == "kl-lr=0.1-clip=0.2"
    assert name({}, lists={"kl": {"gentle": {"lr": 0.1, "loss.clip": 0.2}}}) == "kl-gentle"


def test_what_varies_a_parent_bears_its_selector() -> None:
    assert name({"sft": {"lr": [0.1]}, "kl": {"lr": [0.2]}}) == "kl-sft.lr=0.1-lr=0.2"


def test_a_narrower_axis_hides_a_wider_one_of_the_same_address() -> None:
    axes = axes_of({"*": {"lr": [1], "steps": [2]}, "kl": {"lr": [3]}}, {}, ())
    assert [axis.place for axis in axes_at(axes, ("*", "online", "kl"))] == [
        ("grid", "*", "steps"),
        ("grid", "kl", "lr"),
    ]
    assert [axis.place for axis in axes_at(axes, ("*", "sft", "sft"))] == [("grid", "*", "lr"), ("grid", "*", "steps")]


@pytest.mark.parametrize(
    ("grid", "lists", "seeds", "message"),
    [
        ({"kl": {}}, {}, (), "grid.kl: is empty; give it an address with a list of values, or remove it"),
        ({"kl": {"lr": []}}, {}, (), "grid.kl.lr: is empty; give it values, or remove it"),
        (
            {"kl": {"lr": 0.1}},
            {},
            (),
            "grid.kl.lr: expected a list of values, got '0.1'; a single value belongs under `runs`",
        ),
        ({"kl": {"loss": {"name": "a"}}}, {}, (), "grid.kl.loss: expected a list of values, got 'a'"),
        ({"kl": {"stage": ["sft"]}}, {}, (), "grid.kl.stage: a run has one stage"),
        ({}, {"kl": []}, (), "lists.kl: is empty; give it settings, or remove it"),
        ({}, {"kl": [3]}, (), "lists.kl: expected blocks of `dotted.address: value`, got '3'"),
        ({}, {}, (1, 1), "seeds: one of them is repeated"),
        ({"kl": {"seed": [1]}}, {}, (1,), "seeds: the grid varies `seed` as well"),
    ],
)
def test_what_is_no_axis_is_said(grid: Any, lists: Any, seeds: tuple[int, ...], message: str) -> None:
    (problem,) = problems_in(grid, lists, seeds)
    assert problem.startswith(message)

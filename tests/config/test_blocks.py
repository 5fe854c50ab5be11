"""What a block refuses, what classes are called, what a choice accepts, and what annotations say."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar, Optional

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from overopt.config.blocks import (
    Choice,
    annotation_at,
    block,
    block_of,
    is_choice,
    item_annotation,
    name_of,
    stage_of,
    unwrap,
)
from overopt.config.locations import Location, LocationMark, location_mark


@block
class DPO:
    """A pair loss."""

    beta: Annotated[float, Field(gt=0)] = 0.1
    """Inverse temperature."""


@block
class SimPO:
    gamma: float = 0.5


@block
class Renamed:
    config_name: ClassVar[str] = "another"


Loss = Annotated[DPO | SimPO, Choice()]


@block
class Offline:
    stage: ClassVar[str] = "offline"
    loss: Loss = SimPO(gamma=0.7)
    many: tuple[Loss, ...] = ()
    only: Annotated[DPO, Choice()] = DPO()
    number: Annotated[float | DPO | None, Choice()] = None
    perhaps: Loss | None = None
    path: Location = "here"
    free: dict[str, Loss] = Field(default_factory=dict)


def test_blocks_are_frozen_checked_and_compared_by_value() -> None:
    assert DPO(beta=1) == DPO(beta=1.0)
    assert hash(DPO()) == hash(DPO())
    with pytest.raises(dataclasses.FrozenInstanceError):
        DPO().beta = 2.0  # type: ignore[misc]
    for wrong in ({"beta": 0.0}, {"beta": float("inf")}, {"beta": "x"}, {"gamma": 1.0}):
        with pytest.raises(ValidationError):
            DPO(**wrong)
    with pytest.raises(ValidationError):
        DPO(1.0)  # type: ignore[misc]


def test_the_docstring_of_a_field_is_kept() -> None:
    fields: Any = DPO
    assert fields.__pydantic_fields__["beta"].description == "Inverse temperature."


@pytest.mark.parametrize(
    ("class_name", "name"),
    [
        ("SimPO", "simpo"),
        ("DPO", "dpo"),
        ("EntropyLengthNormalized", "entropy_length_normalized"),
        ("KL", "kl"),
        ("RLOO", "rloo"),
        ("PPOClip", "ppo_clip"),
        ("AdaptiveKL", "adaptive_kl"),
        ("KTO", "kto"),
        ("RewardModel", "reward_model"),
        ("SFT", "sft"),
    ],
)
def test_names_derive_from_classes(class_name: str, name: str) -> None:
    assert name_of(type(class_name, (), {})) == name


def test_a_class_may_name_itself_but_not_its_heirs() -> None:
    assert name_of(Renamed) == "another"
    assert name_of(type("Heir", (Renamed,), {})) == "heir"


def test_a_choice_by_short_name_by_mapping_and_by_object() -> None:
    choice = TypeAdapter(Loss)
    assert choice.validate_python("dpo") == DPO()
    assert choice.validate_python({"name": "simpo", "gamma": 1}) == SimPO(gamma=1.0)
    assert choice.validate_python(SimPO(gamma=3.0)) == SimPO(gamma=3.0)
    for wrong in ("ipo", {"gamma": 1}, {"name": "dpo", "gamma": 1}, {"name": 3}, 3, None, Renamed()):
        with pytest.raises(ValidationError):
            choice.validate_python(wrong)


def test_a_choice_of_one_class_and_one_with_a_plain_value() -> None:
    assert Offline(only="dpo").only == DPO()  # type: ignore[arg-type]
    assert Offline(number=0.5).number == 0.5
    assert Offline(number=None).number is None
    assert Offline(number="dpo").number == DPO()  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        Offline(number=True)


def test_a_class_inside_the_package_is_no_plug_in() -> None:
    with pytest.raises(ValidationError, match="is no choice here"):
        TypeAdapter(Loss).validate_python(f"{__name__}:Renamed")


@block
class Named:
    name: str = ""


@block
class SimPo:
    """In snake case this is sim_po; it calls itself as SimPO does."""

    config_name: ClassVar[str] = "simpo"


@pytest.mark.parametrize("union", [int, DPO | str, Named, SimPO | SimPo])
def test_an_ill_made_choice_is_refused_when_it_is_made(union: Any) -> None:
    with pytest.raises(TypeError):
        TypeAdapter(Annotated[union, Choice()])


def test_stage_is_a_class_variable() -> None:
    assert stage_of(Offline) == "offline"
    assert stage_of(DPO) is None


def test_peel_takes_off_annotated_and_optional() -> None:
    assert unwrap(Optional[Location])[0] is str  # noqa: UP045 (the older spelling must work too)
    assert location_mark(unwrap(Location | None)[1]) == LocationMark("model")
    inner, marks = unwrap(Loss | None)
    assert inner == DPO | SimPO
    assert is_choice(marks)
    assert unwrap(int | str)[0] == int | str


def test_item_annotations() -> None:
    assert item_annotation(tuple[int, ...], 7) is int
    assert item_annotation(tuple[int, str], 1) is str
    assert item_annotation(tuple[int, str], 2) is Any
    assert item_annotation(list[int], 0) is int
    assert item_annotation(dict[str, float], "x") is float
    assert item_annotation(int, "x") is Any


def test_the_class_at_an_address() -> None:
    tree = {"loss": {"name": "dpo"}, "many": ["simpo"], "free": {"x": {"name": "dpo"}}, "perhaps": {"name": "dpo"}}
    for address, cls in [
        ((), Offline),
        (("loss",), DPO),
        (("many", 0), SimPO),
        (("many", 1), None),
        (("free", "x"), DPO),
        (("perhaps",), DPO),
        (("path",), None),
        (("nothing", "there"), None),
    ]:
        assert block_of(*annotation_at(Offline, tree, address)) is cls

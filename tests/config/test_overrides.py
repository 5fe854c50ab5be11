"""Raw trees: defaults and paths written out, and what an override does to them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
from pydantic import Field

from overopt.config import Choice, Location, block
from overopt.config.overrides import address_of, complete, dotted, outer_first, override, parse_override


@block
class KL:
    coef: float


@block
class SimPO:
    alpha: float = 2.0
    gamma: float = 0.5


Loss = Annotated[KL | SimPO, Choice()]


@block
class Optimizer:
    eps: float = 1e-8
    decay: float = 0.0


@block
class Stage:
    policy: Location
    loss: Loss = SimPO(gamma=0.7)
    regularizers: tuple[Loss, ...] = (KL(coef=0.2),)
    optimizer: Optimizer = Optimizer(eps=1e-5)
    controller: Annotated[float | SimPO, Choice()] = 0.1
    provenance: dict[str, str] = Field(default_factory=dict)


def completed(tree: dict[str, Any], base: str = "/base") -> Any:
    return complete(Stage, tree, Path(base))


def test_defaults_are_written_out_and_the_required_stays_missing() -> None:
    assert completed({}) == {
        "loss": {"name": "simpo", "alpha": 2.0, "gamma": 0.7},
        "regularizers": [{"name": "kl", "coef": 0.2}],
        "optimizer": {"eps": 1e-5, "decay": 0.0},
        "controller": 0.1,
        "provenance": {},
    }


def test_a_partly_given_block_keeps_what_its_place_would_have_had() -> None:
    tree = completed({"optimizer": {"decay": 0.1}, "loss": {"alpha": 1.0}})
    assert tree["optimizer"] == {"eps": 1e-5, "decay": 0.1}
    assert tree["loss"] == {"name": "simpo", "alpha": 1.0, "gamma": 0.7}


def test_completing_twice_changes_nothing() -> None:
    tree = completed({"policy": "x", "loss": "kl"})
    assert complete(Stage, tree, Path("/elsewhere")) == tree


@pytest.mark.parametrize(
    ("written", "absolute"), [("x", "/base/x"), ("../y", "/y"), ("/z", "/z"), ("~/m", str(Path.home() / "m")), ("", "")]
)
def test_paths_become_absolute(written: str, absolute: str) -> None:
    assert completed({"policy": written})["policy"] == absolute


def test_objects_in_a_tree_become_plain() -> None:
    assert completed({"loss": KL(coef=3.0), "regularizers": (KL(coef=1.0),)})["loss"] == {"name": "kl", "coef": 3.0}


def test_what_cannot_be_understood_stays() -> None:
    tree = completed({"loss": 3, "regularizers": "kl", "optimizer": [1], "unknown": {"a": 1}})
    assert (tree["loss"], tree["regularizers"], tree["optimizer"], tree["unknown"]) == (3, "kl", [1], {"a": 1})


def test_addresses_know_lists_and_free_mappings() -> None:
    tree = completed({})
    assert address_of(Stage, tree, "regularizers.0.coef") == ("regularizers", 0, "coef")
    assert address_of(Stage, tree, "provenance.loss.gamma") == ("provenance", "loss.gamma")
    assert address_of(Stage, tree, "optimizer.0") == ("optimizer", "0")
    assert dotted(("regularizers", 0, "coef")) == "regularizers.0.coef"


def overridden(tree: dict[str, Any], text: str, value: Any) -> Any:
    whole = completed(tree)
    return override(Stage, whole, address_of(Stage, whole, text), value)


def test_an_override_replaces_one_value() -> None:
    before = completed({})
    after = overridden({}, "regularizers.0.coef", 9.0)
    assert after == {**before, "regularizers": [{"name": "kl", "coef": 9.0}]}
    assert overridden({}, "provenance.loss.gamma", "ours")["provenance"] == {"loss.gamma": "ours"}


def test_another_name_drops_the_fields_of_the_old_choice() -> None:
    assert overridden({}, "loss.name", "kl")["loss"] == {"name": "kl"}
    assert overridden({}, "loss.name", "simpo")["loss"] == {"name": "simpo", "alpha": 2.0, "gamma": 0.7}
    assert overridden({}, "controller.name", "simpo")["controller"] == {"name": "simpo"}


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("regularizers.1.coef", "regularizers is a list of 1; its items are addressed from 0"),
        ("regularizers.x", "regularizers is a list of 1; its items are addressed from 0"),
        ("optimizer.eps.x", "optimizer.eps holds 1e-05, which has no parts"),
    ],
)
def test_an_address_that_is_not_there(address: str, message: str) -> None:
    with pytest.raises(LookupError, match=message):
        overridden({}, address, 1)


def test_outer_overrides_and_names_come_first() -> None:
    given = [("loss.gamma", "1"), ("regularizers.0.coef", "2"), ("loss.name", "simpo"), ("lr", "3")]
    assert [address for address, _ in outer_first(given)] == ["loss.name", "lr", "loss.gamma", "regularizers.0.coef"]


def test_override_texts_are_yaml() -> None:
    assert parse_override("1e-3") == 0.001
    assert parse_override("{name: kl, coef: 2}") == {"name": "kl", "coef": 2}
    with pytest.raises(LookupError, match=r"'\[1' does not parse as YAML"):
        parse_override("[1")
    with pytest.raises(LookupError, match="a: duplicate key"):
        parse_override("{a: 1, a: 2}")


@block
class Weighted:
    short_for: ClassVar[str] = "what"

    what: Location
    weight: float = 1.0


@block
class Holder:
    items: list[Weighted]


def test_a_block_may_have_a_short_spelling() -> None:
    tree = complete(Holder, {"items": ["a", {"what": "b", "weight": 2.0}]}, Path("/base"))
    assert tree == {"items": [{"what": "/base/a", "weight": 1.0}, {"what": "/base/b", "weight": 2.0}]}

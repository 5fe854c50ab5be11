from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol

import pytest
from pydantic import TypeAdapter, ValidationError

from overopt.config import Choice, block, plugins
from overopt.config.contract import conform


class Base(Protocol):
    needs: ClassVar[frozenset[Literal["salt", "water"]]] = frozenset()
    grain: ClassVar[Literal["fine", "coarse"]] = "fine"
    quick: ClassVar[bool] = True
    least: ClassVar[int] = 1


class Recipe(Base, Protocol):
    size: float

    @abstractmethod
    def __call__(self, flour: float) -> float: ...

    @abstractmethod
    def reward(self, bread: float, price: float) -> float: ...

    @property
    def lowest(self) -> float:
        return 0.5

    @staticmethod
    def contradictions(cls: Any) -> Iterator[str]:
        if cls.quick and "water" in cls.needs:
            yield "needs water, so it is not quick"


@block
class Good:
    size: float = 2.0
    needs = {"salt"}  # noqa: RUF012 (a set will do)

    def __call__(self, flour: float) -> float:
        return self.size * flour

    def reward(self, *bread_and_price: float) -> float:
        return 0.0


def test_a_class_that_fits_gets_the_defaults_that_it_leaves_out_and_keeps_its_own() -> None:
    assert conform(Good, Recipe) == []
    good: Any = Good()
    assert (good.needs, good.grain, good.quick, good.least, good.lowest) == ({"salt"}, "fine", True, 1, 0.5)
    assert not hasattr(good, "contradictions")


@block
class Bare:
    needs = frozenset({"water", "slat"})
    grain = "rough"
    quick = "no"
    least = 1.5


@block
class Misshapen:
    size: float = 1.0

    def __call__(self) -> float:
        return 0.0

    def reward(self, bread: float) -> float:
        return 0.0


def test_everything_that_is_lacking_or_wrong_is_said_at_once() -> None:
    assert conform(Bare, Recipe) == [
        "lacks __call__(flour), reward(bread, price), size",
        "needs must be a frozenset of words among 'salt', 'water', got [\"slat\", \"water\"]",
        "grain must be one of 'fine', 'coarse', got \"rough\"",
        'quick must be True or False, got "no"',
        "least must be a whole number, got 1.5",
    ]
    assert conform(Misshapen, Recipe) == [
        "__call__ is called with (flour), but takes ()",
        "reward is called with (bread, price), but takes (bread: 'float')",
    ]


def test_a_class_with_state_is_called_with_it() -> None:
    @block
    class Remembering(Good):
        def init(self) -> dict[str, Any]:
            return {}

    assert conform(Remembering, Recipe) == ["__call__ is called with (flour, state), but takes (flour: 'float')"]


def test_values_that_do_not_go_together_are_said() -> None:
    @block
    class Wet(Good):
        needs = {"water"}  # noqa: RUF012

    assert conform(Wet, Recipe) == ["needs water, so it is not quick"]
    Wet.quick = False
    assert conform(Wet, Recipe) == []


def test_a_class_that_inherits_the_contract_must_still_have_the_methods() -> None:
    @block
    class Heir(Recipe):
        size: float = 1.0

        def reward(self, bread: float, price: float) -> float:
            return 0.0

    assert conform(Heir, Recipe) == ["lacks __call__(flour)"]


def test_static_methods_and_fields_fit_as_well() -> None:
    @block
    class Odd:
        size: float = 1.0
        least: int = 3

        @staticmethod
        def reward(bread: float, price: float) -> float:
            return 0.0

        def __call__(self, flour: float, oven: float = 1.0) -> float:
            return 0.0

    assert conform(Odd, Recipe) == []
    odd: Any = Odd(least=4)
    assert odd.least == 4


def test_a_choice_checks_an_object_of_another_class_too(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from overopt.config import block\n@block\nclass Mine:\n    size: float = 1.0\n    def __call__(self): ...\n"
    )
    choice: TypeAdapter[Any] = TypeAdapter(Annotated[Good, Choice(Recipe)])
    assert choice.validate_python(Good(size=3.0)).size == 3.0
    message = r"'Mine' lacks reward\(bread, price\); __call__ is called with \(flour\), but takes \(\)"
    with pytest.raises(ValidationError, match=message):
        choice.validate_python(plugins.find(f"{tmp_path / 'mine.py'}:Mine")())

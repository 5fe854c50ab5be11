"""The dictionary has a row for every class of every union, and each says what it is and where it is from."""

from __future__ import annotations

import json
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest

from overopt.config import name_of
from overopt.config.plugins import is_block
from overopt.errors import UserError
from overopt.objectives import contracts
from overopt.objectives.dictionary import (
    UNIONS,
    WHERE,
    classes,
    dictionary,
    find_objectives,
    other_libraries,
    split_docstring,
    translation,
)
from overopt.objectives.missing_eos import KeepScore, MissingEOS, Replace, Subtract
from overopt.objectives.pair_losses import DPO, SimPO
from overopt.training.stages import STAGES

ROWS = dictionary()


def ids(row: dict[str, Any]) -> str:
    return f"{row['kind']}-{row['name']}"


@pytest.mark.parametrize("row", ROWS, ids=ids)
def test_a_row_says_what_it_is_and_where_it_is_from(row: dict[str, Any]) -> None:
    assert list(row) == ["name", "kind", "formula", "fields", "needs", "source", "elsewhere"]
    assert row["formula"].strip() and row["source"].strip()
    assert json.loads(json.dumps(row)) == row
    assert set(row["elsewhere"]) <= {"trl", "openrlhf", "verl"}


@pytest.mark.parametrize(
    ("row", "cls"), find_objectives(), ids=lambda value: ids(value) if isinstance(value, dict) else ""
)
def test_the_class_says_the_rest(row: dict[str, Any], cls: type) -> None:
    first, _ = split_docstring(cls)
    assert first.endswith((".", ":")) or len(first) > 20
    assert name_of(cls) == row["name"]
    assert {field["name"] for field in row["fields"]} == annotated(cls)


def annotated(cls: type) -> set[str]:
    """What the class and its bases annotate, their contract aside."""
    bases = [base for base in cls.__mro__ if base.__module__ != contracts.__name__]
    return {name for base in bases for name in vars(base).get("__annotations__", ())}


def blocks_in(annotation: Any) -> set[type]:
    """Every block that a configuration may name at or below an annotation."""
    if is_block(annotation):
        below = (hint for hint in get_type_hints(annotation, include_extras=True).values())
        return {annotation}.union(*map(blocks_in, below))
    return (
        set().union(*map(blocks_in, get_args(annotation))) if get_origin(annotation) or get_args(annotation) else set()
    )


def test_every_objective_that_a_stage_takes_has_a_row() -> None:
    reachable = set().union(*map(blocks_in, STAGES.values()))
    mathematics = {cls for cls in reachable if cls.__module__.startswith("overopt.objectives.")}
    assert mathematics == {cls for _, cls in find_objectives()}


def test_kinds_and_names_do_not_collide() -> None:
    assert set(WHERE) == set(UNIONS)
    assert len({ids(row) for row in ROWS}) == len(ROWS)
    assert classes("missing_eos") == (Replace, Subtract, KeepScore)
    assert UNIONS["missing_eos"] is MissingEOS


def test_one_class_alone_is_a_union_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from overopt.config import Choice

    monkeypatch.setitem(UNIONS, "pair_loss", Annotated[SimPO, Choice()])
    assert classes("pair_loss") == (SimPO,)


def test_a_row_by_name_by_class_name_or_not_at_all() -> None:
    (row,) = dictionary("simpo")
    assert row["fields"][0] == {"name": "alpha", "type": "number > 0", "default": 2.0, "doc": ""}
    assert row["needs"] == []
    assert dictionary("SimPO") == [row]
    assert [cls for _, cls in find_objectives("dpo")] == [DPO]
    assert dictionary("dpo")[0]["needs"] == ["reference"]
    with pytest.raises(UserError, match="no objective is called 'simop' .did you mean 'simpo'. valid: dpo, "):
        dictionary("simop")


def test_what_other_libraries_call_it_is_said_of_objectives_that_exist() -> None:
    spelled = {(kind, name) for kind, names in other_libraries().items() for name in names}
    assert spelled <= {(row["kind"], row["name"]) for row in ROWS} and len(spelled) > 25
    assert dictionary("ipo")[0]["elsewhere"] == {
        "trl": {"trainer": "DPOTrainer", "when": "length == 'mean'", "loss_type": "'ipo'", "beta": "tau"},
        "openrlhf": "train_dpo --ipo --beta TAU (length: sum)",
    }
    assert dictionary("entropy_sum")[0]["elsewhere"] == {}


def test_translations_are_calls_with_a_condition() -> None:
    words = {"trainer": "DPOTrainer", "when": "length == 'mean'", "loss_type": "'ipo'", "beta": "tau"}
    assert translation("trl", words) == "DPOTrainer(loss_type='ipo', beta=tau), where length == 'mean'"
    assert translation("verl", "adv_estimator=rloo") == "adv_estimator=rloo"

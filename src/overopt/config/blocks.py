"""Blocks (classes whose fields are YAML keys), choices among them by name, and how to read their annotations."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import types
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, Union, dataclass_transform, get_args, get_origin

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from overopt.config import plugins
from overopt.config.contract import conform
from overopt.config.messages import as_yaml, did_you_mean
from overopt.config.plugins import is_block
from overopt.config.user_code import guard_methods
from overopt.config.yaml12 import Address

T = TypeVar("T")


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field, dataclasses.field))
def block(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass whose fields are YAML keys; types and bounds are checked, unknown keys refused.

    With a class variable `short_for`, a bare text in a YAML sets that field of the block.
    """
    config = ConfigDict(extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False)
    made: Any = pydantic_dataclass(frozen=True, kw_only=True, config=config)
    return made(cls)


def name_of(cls: type) -> str:
    """The name of a class in a YAML: its own `config_name`, else its name in snake case (`PPOClip` -> `ppo_clip`).

    The PO that ends many preference optimizers' names is not split off: `SimPO` -> `simpo`.
    """
    own = cls.__dict__.get("config_name")
    if own is not None:
        return str(own)
    boundary = r"(?<=[a-z0-9])(?=[A-Z])(?!PO$)|(?<=[A-Z])(?=[A-Z][a-z])"
    return re.sub(boundary, "_", cls.__name__).lower()


class _FunctionMark:
    """Marks a string as the name of a function."""


def _is_function_name(name: str) -> str:
    try:
        plugins.find_function(name)
    except LookupError as error:
        raise ValueError(str(error)) from error
    return name


Function = Annotated[str, _FunctionMark(), AfterValidator(_is_function_name)]
"""A function of the user's, `my_module:fn` with `fn(prompts, completions, **columns)`; `my_module.py` may lie beside
the YAML. It is found and checked when the configuration is loaded; `plugins.find_function` returns it."""


class Choice:
    """Marks a union of blocks as a choice by name: `Annotated[DPO | SimPO, Choice()]`, also of a single class.

    Members that are no blocks are taken as they are: `Annotated[float | AdaptiveKL, Choice()]` is a number or a choice.
    Text is not among them, since text is a name. A class of the user's must keep the `contract` (`config/contract.py`).
    """

    def __init__(self, contract: type | None = None) -> None:
        self.contract = contract

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        blocks, others = union_members(source)
        if not blocks or str in others or len({name_of(cls) for cls in blocks}) < len(blocks):
            raise TypeError(f"a Choice needs blocks of different names, and no str: {source}")
        if any("name" in fields_of(cls) for cls in blocks):
            raise TypeError(f"a block of a Choice cannot have a field `name`, which says the choice: {source}")
        union: Any = Union[others] if others else None  # noqa: UP007 (built at run time)
        finite = ConfigDict(allow_inf_nan=False)
        plain_value: TypeAdapter[Any] | None = TypeAdapter(union, config=finite) if others else None

        def choose(value: Any) -> Any:
            if isinstance(value, str | dict):
                return _choose(value, blocks, self.contract, bool(others))
            if isinstance(value, blocks):
                return value
            if is_block(type(value)) and not _same_package(type(value), blocks):
                try:
                    _check(guard_methods(type(value)), type(value).__name__, self.contract)
                except LookupError as error:
                    raise _choice_error((), str(error), value) from error
                return value
            if plain_value is not None:
                return plain_value.validate_python(value, strict=True)
            raise _choice_error((), f"expected one of {', '.join(map(name_of, blocks))}, got {as_yaml(value)}", value)

        return core_schema.no_info_plain_validator_function(choose)


def _choose(value: str | dict[str, Any], blocks: tuple[type, ...], contract: type | None, or_plain: bool) -> Any:
    """The object that `{name: simpo, gamma: 1.0}` or `simpo` describes."""
    fields = {"name": value} if isinstance(value, str) else dict(value)
    name = fields.pop("name", None)
    try:
        cls = _class_named(name, blocks, contract)
    except LookupError as error:
        message = f"{error}, or a plain value" if or_plain else str(error)
        raise _choice_error(("name",), message, value) from error
    return adapter(cls).validate_json(json.dumps(fields), strict=True)


def _choice_error(address: Address, message: str, value: Any) -> ValidationError:
    error = PydanticCustomError("overopt_choice", "{message}", {"message": message})
    return ValidationError.from_exception_data("choice", [InitErrorDetails(type=error, loc=address, input=value)])


def _class_named(name: Any, blocks: tuple[type, ...], contract: type | None) -> type:
    names = {name_of(cls): cls for cls in blocks}
    if not isinstance(name, str):
        problem = "has no name" if name is None else f"the name must be text, got {as_yaml(name)}"
        raise LookupError(f"{problem} (valid: {', '.join(names)})")
    if name in names:
        return names[name]
    if ":" not in name:
        raise LookupError(f"unknown name {name!r} ({did_you_mean(name, names)})")
    cls = guard_methods(plugins.find(name))
    if _same_package(cls, blocks):
        raise LookupError(f"{name!r} is no choice here ({did_you_mean(cls.__name__, names)})")
    _check(cls, name, contract)
    return cls


def _check(cls: type, name: str, contract: type | None) -> None:
    """LookupError if a class of the user's breaks the contract."""
    if contract is not None and (problems := conform(cls, contract)):
        place = f"{contract.__module__}.{contract.__name__}"
        raise LookupError(f"{name!r} {'; '.join(problems)} ({place} says what such a class has)")


def _same_package(cls: type, blocks: tuple[type, ...]) -> bool:
    return cls.__module__.partition(".")[0] in {b.__module__.partition(".")[0] for b in blocks}


def stage_of(cls: type) -> str | None:
    """Return the class variable `stage`, or None."""
    return None if "stage" in fields_of(cls) else getattr(cls, "stage", None)


@functools.cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """Pydantic's validator and serializer of a type."""
    return TypeAdapter(kind)


# Reading annotations


def union_members(union: Any) -> tuple[tuple[type, ...], tuple[Any, ...]]:
    """The blocks of a union, and its other members."""
    members = get_args(union) if get_origin(union) in (Union, types.UnionType) else (union,)
    blocks = tuple(member for member in members if is_block(member))
    return blocks, tuple(member for member in members if not is_block(member))


def unwrap(annotation: Any) -> tuple[Any, list[Any]]:
    """Strip `Annotated` and, unless it is a choice, `| None` from an annotation; return it and the marks stripped."""
    marks: list[Any] = []
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *more = get_args(annotation)
            marks += more
            continue
        members = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else ()
        kept = [member for member in members if member is not type(None)]
        if len(kept) != 1 or is_choice(marks):
            return annotation, marks
        annotation = kept[0]


def is_choice(marks: list[Any]) -> bool:
    """Whether the marks of an annotation include Choice()."""
    return any(isinstance(mark, Choice) for mark in marks)


def is_function(marks: list[Any]) -> bool:
    """Whether the marks of an annotation are those of a Function."""
    return any(isinstance(mark, _FunctionMark) for mark in marks)


def is_mapping(annotation: Any) -> bool:
    """Whether this is `dict[...]`, whose keys are free."""
    origin = get_origin(annotation) or annotation
    return isinstance(origin, type) and issubclass(origin, Mapping)


def fields_of(cls: Any) -> dict[str, Any]:
    """Pydantic's description of each field of a block."""
    return dict(cls.__pydantic_fields__)


def field_annotation(cls: type, key: Any) -> Any:
    """The annotation of a field; Any if there is no such field."""
    field = fields_of(cls).get(key)
    return Any if field is None else field.rebuild_annotation()


def item_annotation(annotation: Any, key: Any) -> Any:
    """The annotation of a list's item or a dict's value."""
    args = get_args(annotation)
    if not args:
        return Any
    if is_mapping(annotation):
        return args[1]
    if len(args) == 1 or args[1] is ...:
        return args[0]
    return args[key] if isinstance(key, int) and key < len(args) else Any


def block_of(annotation: Any, value: Any) -> type | None:
    """Return the class whose fields are the keys of the raw `value`, or None if that cannot be determined."""
    inner, marks = unwrap(annotation)
    if not is_choice(marks):
        return inner if is_block(inner) else None
    try:
        contract = next(mark.contract for mark in marks if isinstance(mark, Choice))
        return _class_named(value.get("name") if isinstance(value, dict) else value, union_members(inner)[0], contract)
    except LookupError:
        return None


def annotation_at(target: type, tree: Any, address: Address) -> tuple[Any, Any]:
    """The annotation at an address of a raw tree, and the value there."""
    annotation: Any = target
    for key in address:
        cls = block_of(annotation, tree)
        annotation = item_annotation(unwrap(annotation)[0], key) if cls is None else field_annotation(cls, key)
        tree = _child(tree, key)
    return annotation, tree


def _child(tree: Any, key: Any) -> Any:
    if isinstance(tree, dict):
        return tree.get(key)
    if isinstance(tree, list) and isinstance(key, int) and key < len(tree):
        return tree[key]
    return None

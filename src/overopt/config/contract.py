"""Checks a plug-in class against the contract of its kind, and gives it the contract's defaults.

A contract is a `typing.Protocol`. Its abstract methods and properties, and its attributes without a value, are
required; its other members are defaults. A class with a method `init` has state: its `__call__` takes one argument
more, the state. A static method `contradictions(cls)` of the contract says which values of a class do not go together.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Iterator
from typing import Any, ClassVar, Protocol, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from overopt.config.messages import as_yaml

RULES = "contradictions"


def conform(cls: type, contract: type) -> list[str]:
    """Set the defaults that `cls` leaves out; return all ways in which it breaks the contract."""
    problems = [*_lacking(cls, contract), *_wrong_signatures(cls, contract), *_wrong_values(cls, contract)]
    if not problems:
        for name in _defaults(contract):
            if not _has(cls, name):
                setattr(cls, name, _member(contract, name))
        contradictions = _member(contract, RULES)
        problems = [] if contradictions is None else list(contradictions(cls))
    return problems


def _lacking(cls: type, contract: type) -> Iterator[str]:
    """One text that names everything required and absent."""
    methods = [f"{name}{_shown(parameters)}" for name, parameters in _methods(contract) if not _implements(cls, name)]
    required = [name for name in _annotations(contract) if not hasattr(contract, name)]
    required += [name for name in _abstract(contract) if isinstance(_member(contract, name), property)]
    attributes = [name for name in required if not _has(cls, name)]
    if methods or attributes:
        yield f"lacks {', '.join(methods + attributes)}"


def _wrong_signatures(cls: type, contract: type) -> Iterator[str]:
    for name, parameters in _methods(contract):
        if not _implements(cls, name):
            continue
        expected = [*parameters, "state"] if name == "__call__" and _implements(cls, "init") else list(parameters)
        try:
            signature = inspect.signature(getattr(cls, name))
        except (TypeError, ValueError):  # no Python function
            continue
        try:
            bound = isinstance(_member(cls, name), staticmethod | classmethod)
            signature.bind(*[] if bound else [None], *expected)
        except TypeError:
            own = [text for text in map(str, signature.parameters.values()) if text != "self"]
            yield f"{name} is called with {_shown(expected)}, but takes {_shown(own)}"


def _wrong_values(cls: type, contract: type) -> Iterator[str]:
    """Class variables that are not of the contract's type."""
    for name, annotation in _annotations(contract).items():
        value = _member(cls, name)
        if get_origin(annotation) is not ClassVar or value is None:
            continue
        (kind,) = get_args(annotation)
        if not isinstance(value, property | functools.cached_property) and not _is_of(value, kind):
            yield f"{name} must be {_words(kind)}, got {as_yaml(_plain(value))}"


def _is_of(value: Any, kind: Any) -> bool:
    try:
        return bool(TypeAdapter(kind).validate_python(value) == value)  # lax, so that a set will do for a frozenset
    except ValidationError:
        return False


def _words(kind: Any) -> str:
    """`one of 'pairs', 'rankings'`, `a set of 'reference', 'logits'`, `true or false`, `a whole number`."""
    choices = ", ".join(map(repr, get_args(kind)))
    if get_origin(kind) is typing.Literal:
        return f"one of {choices}"
    if get_origin(kind) is frozenset:
        words = get_args(get_args(kind)[0])
        return f"a frozenset of words among {', '.join(map(repr, words))}" if words else "a frozenset of words"
    return {bool: "True or False", int: "a whole number", str: "text"}.get(kind, str(kind))


def _plain(value: Any) -> Any:
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else value


def _methods(contract: Any) -> list[tuple[str, tuple[str, ...]]]:
    """The required methods, and the names of the arguments that they are called with."""
    methods = {name: _member(contract, name) for name in _abstract(contract)}
    return [(n, tuple(inspect.signature(m).parameters)[1:]) for n, m in methods.items() if inspect.isfunction(m)]


def _abstract(contract: Any) -> list[str]:
    return sorted(contract.__abstractmethods__)


def _annotations(contract: type) -> dict[str, Any]:
    return typing.get_type_hints(contract, include_extras=True)


def _defaults(contract: Any) -> list[str]:
    """Public members of the contract that are not required."""
    names: list[str] = [name for base in contract.__mro__ if Protocol in base.__bases__ for name in vars(base)]
    return [name for name in names if not name.startswith("_") and name not in contract.__abstractmethods__ | {RULES}]


def _member(cls: type, name: str) -> Any:
    """What the class or its bases define; `getattr` finds the metaclass' `__call__` as well."""
    return next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)


def _has(cls: Any, name: str) -> bool:
    member = _member(cls, name)
    return (member is not None and not _is_abstract(member)) or name in cls.__pydantic_fields__


def _implements(cls: type, name: str) -> bool:
    method = _member(cls, name)
    static = isinstance(method, staticmethod | classmethod)
    return (static or callable(method)) and not _is_abstract(method)


def _is_abstract(member: Any) -> bool:
    return bool(getattr(member, "__isabstractmethod__", False))


def _shown(names: Any) -> str:
    return f"({', '.join(names)})"

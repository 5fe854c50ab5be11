"""Raw configuration trees before validation: defaults filled in, locations in full, overrides applied."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from overopt.config import plugins, yaml12
from overopt.config.blocks import (
    Choice,
    annotation_at,
    block_of,
    fields_of,
    is_choice,
    is_function,
    is_mapping,
    item_annotation,
    unwrap,
)
from overopt.config.dumping import plain
from overopt.config.locations import location_mark
from overopt.config.messages import as_yaml
from overopt.config.plugins import is_block
from overopt.config.yaml12 import Address


def complete(annotation: Any, value: Any, base: Path, default: Any = None) -> Any:
    """Fill in the defaults of a raw value and make its paths absolute; what cannot be interpreted is left as it is.

    Overrides can then address fields that the file left out, and paths from file and command line are treated alike.
    """
    inner, marks = unwrap(annotation)
    if is_block(type(value)):
        value = plain(value, annotation)
    if isinstance(value, str) and value and (mark := location_mark(marks)) is not None:
        return mark.spelled_out(value, base)
    if isinstance(value, str) and is_function(marks):
        return plugins.located(value, base)
    if is_choice(marks):
        value = _spelled_out(value, inner, base, default)
    cls = block_of(annotation, value)
    if isinstance(value, str) and cls is not None and hasattr(cls, "short_for"):
        value = {cls.short_for: value}
    if cls is not None and isinstance(value, dict):
        return _complete_block(cls, value, base, default)
    if isinstance(value, dict):
        return {str(k): complete(item_annotation(inner, k), v, base) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [complete(item_annotation(inner, i), item, base) for i, item in enumerate(value)]
    return value


def _complete_block(cls: type, value: dict[str, Any], base: Path, default: Any) -> dict[str, Any]:
    tree = {str(key): item for key, item in value.items()}
    for key, field in fields_of(cls).items():
        preset = getattr(default, key) if type(default) is cls else _default(field)
        annotation = field.rebuild_annotation()
        if key in tree:
            tree[key] = complete(annotation, tree[key], base, preset)
        elif type(default) is cls or not field.is_required():
            tree[key] = plain(preset, annotation)
    return tree


def _default(field: Any) -> Any:
    return None if field.is_required() else field.get_default(call_default_factory=True)


def _spelled_out(value: Any, union: Any, base: Path, default: Any) -> Any:
    """Return a choice as a mapping with its name; without a name, that of the default."""
    if not isinstance(value, str | dict):
        return value
    fields = {"name": value} if isinstance(value, str) else dict(value)
    if "name" not in fields and is_block(type(default)):
        fields["name"] = plain(default, Annotated[union, Choice()])["name"]
    if isinstance(fields.get("name"), str) and ":" in fields["name"]:
        fields["name"] = plugins.located(fields["name"], base)
    return fields


# Overrides


def outer_first(overrides: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Sort overrides from outer to inner addresses, so that their order on the command line does not matter."""
    return sorted(overrides, key=lambda override: override[0].removesuffix(".name").count("."))


def parse_override(text: str) -> Any:
    """Parse the text of an override as YAML."""
    try:
        document = yaml12.parse(text)
    except yaml12.YamlError as error:
        raise LookupError(f"{text!r} does not parse as YAML: {error.problem}") from error
    for address, _, what in document.problems:
        raise LookupError(f"{text!r}: {dotted(address)}: {what}")
    return document.tree


def address_of(target: type, tree: Any, text: str) -> Address:
    """Split `regularizers.0.coef` into its parts; the rest below a free mapping is one key."""
    address: Address = ()
    keys = text.split(".")
    for i, key in enumerate(keys):
        annotation, value = annotation_at(target, tree, address)
        if is_mapping(unwrap(annotation)[0]):
            return (*address, ".".join(keys[i:]))
        address = (*address, int(key) if isinstance(value, list) and key.isdecimal() else key)
    return address


def dotted(address: Address) -> str:
    """Join the parts of an address by dots."""
    return ".".join(map(str, address))


def override(target: type, tree: Any, address: Address, value: Any) -> Any:
    """Return the tree with the value at an address replaced; a new name drops the fields of the old choice."""
    annotation, old = annotation_at(target, tree, address[:-1])
    renamed = not isinstance(old, dict) or old.get("name") != value
    if address[-1] == "name" and renamed and is_choice(unwrap(annotation)[1]):
        return _replace(tree, address[:-1], {"name": value}, ())
    return _replace(tree, address, value, ())


def _replace(tree: Any, address: Address, value: Any, above: Address) -> Any:
    if not address:
        return value
    key, rest = address[0], address[1:]
    if isinstance(tree, list):
        if not isinstance(key, int) or key >= len(tree):
            raise LookupError(f"{dotted(above)} is a list of {len(tree)}; its items are addressed from 0")
        return [_replace(item, rest, value, (*above, key)) if i == key else item for i, item in enumerate(tree)]
    if tree is not None and not isinstance(tree, dict):
        raise LookupError(f"{dotted(above)} holds {as_yaml(tree)}, which has no parts")
    fields = tree or {}
    return {**fields, key: _replace(fields.get(key), rest, value, (*above, key))}

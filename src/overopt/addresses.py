"""Plain trees, as YAML and JSON have them, as flat mappings from a dotted address (`loss.gamma`) to a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def flatten(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by their addresses, list items counted from 0; an empty list or mapping is a leaf."""
    return dict(_leaves(tree, ""))


def differences(trees: Sequence[Any], absent: Any = None) -> dict[str, list[Any]]:
    """The addresses at which trees differ, with the value in each tree; `absent` where a tree has none."""
    flats = [flatten(tree) for tree in trees]
    found = {address: [flat.get(address, ...) for flat in flats] for flat in flats for address in flat}
    return {
        address: [absent if value is ... else value for value in values]
        for address, values in found.items()
        if any(value != values[0] for value in values)
    }


def _leaves(tree: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    items: Sequence[tuple[Any, Any]] = ()
    if isinstance(tree, Mapping):
        items = list(tree.items())
    elif isinstance(tree, list | tuple):
        items = list(enumerate(tree))
    if prefix and not items:
        yield prefix, tree
    for key, value in items:
        yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))

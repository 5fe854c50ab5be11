"""Configurations as flat lists of addresses and values, and what differs between those of several runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from overopt.analysis.run_summary import objective_of

OF_A_SEED = ("seed", "policy", "reward_model", "reference", "pairs.path", "compute", "provenance")
"""Addresses that differ between runs of one setting: each seed has its own parents; the rest changes no number."""


def addresses(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a configuration, each with its dotted address; list items are counted from 0."""
    items: Sequence[tuple[Any, Any]] = ()
    if isinstance(tree, Mapping):
        items = list(tree.items())
    elif isinstance(tree, list):
        items = list(enumerate(tree))
    if not items:
        yield prefix, tree
    for name, value in items:
        yield from addresses(value, f"{prefix}.{name}" if prefix else str(name))


def setting_of(config: Mapping[str, Any]) -> tuple[str, str]:
    """A short name of what a run was set to apart from its seed, and a key that is the same for the same setting."""
    flat = {address: value for address, value in addresses(config) if not _is_of_a_seed(address)}
    objective, coefficient = objective_of(config)
    parts = [objective if coefficient is None or objective == "none" else f"{objective} {coefficient:g}"]
    if isinstance(config.get("lr"), int | float):
        parts.append(f"lr {config['lr']:g}")
    return ", ".join(parts), json.dumps(flat, sort_keys=True, default=str)


def differences(configs: Sequence[Mapping[str, Any]]) -> tuple[list[tuple[str, list[str]]], list[tuple[str, str]]]:
    """Addresses whose values differ, with one value a run (`-` where it has none); and those that all share."""
    flats = [dict(addresses(config)) for config in configs]
    differing, shared = [], []
    for address in dict.fromkeys(address for flat in flats for address in flat):
        values = [_text(flat[address]) if address in flat else "-" for flat in flats]
        if len(set(values)) > 1:
            differing.append((address, values))
        else:
            shared.append((address, values[0]))
    return differing, shared


def _is_of_a_seed(address: str) -> bool:
    return any(address == own or address.startswith(f"{own}.") for own in OF_A_SEED)


def _text(value: Any) -> str:
    """As YAML has it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)

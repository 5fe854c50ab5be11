"""Names for the settings of runs, and the differences between their configurations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from overopt.addresses import differences, flatten
from overopt.analysis.run_summary import objective_of

SEED_ADDRESSES = ("seed", "policy", "reward_model", "reference", "pairs.path", "compute", "provenance")
"""Addresses that differ between runs of one setting: each seed has its own parents, and the others change no number."""


def setting_of(config: Mapping[str, Any]) -> tuple[str, str]:
    """A short name for a run's configuration apart from its seed, and a key that is equal for equal settings."""
    flat = {address: value for address, value in flatten(config).items() if not _varies_with_seed(address)}
    objective, coefficient = objective_of(config)
    parts = [objective if coefficient is None or objective == "none" else f"{objective} {coefficient:g}"]
    if isinstance(config.get("lr"), int | float):
        parts.append(f"lr {config['lr']:g}")
    return ", ".join(parts), json.dumps(flat, sort_keys=True, default=str)


def differing_and_shared(
    configs: Sequence[Mapping[str, Any]],
) -> tuple[list[tuple[str, list[str]]], list[tuple[str, str]]]:
    """Addresses whose values differ, with one value a run (`-` where it has none); and those that all share."""
    differing = differences(configs, absent="-")
    first = flatten(configs[0]) if configs else {}
    shared = [(address, _text(value)) for address, value in first.items() if address not in differing]
    return [(address, [_text(value) for value in values]) for address, values in differing.items()], shared


def _varies_with_seed(address: str) -> bool:
    return any(address == own or address.startswith(f"{own}.") for own in SEED_ADDRESSES)


def _text(value: Any) -> str:
    """A value as it stands in the YAML file."""
    return value if isinstance(value, str) else json.dumps(value, default=str)

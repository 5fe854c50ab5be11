"""Names on the Hub at the commits that a run records: a branch may move, but the run goes on with the same files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from overopt import config
from overopt.hub.download import commit_of
from overopt.hub.names import parse

T = TypeVar("T")
Pins = dict[str, dict[str, str]]
"""`location`, `revision` and `commit` of each name on the Hub in a configuration, by its address."""


def resolve(obj: Any, known: Mapping[str, Mapping[str, str]]) -> Pins:
    """Return the commit that each name on the Hub in an object means: the one known at its address, else today's."""
    pins: Pins = {}
    for address, location in config.locations(obj).items():
        name = parse(location)
        if name is None:
            continue
        before = known.get(address, {})
        commit = before["commit"] if before.get("location") == location else commit_of(name)
        pins[address] = {"location": location, "revision": name.revision or "main", "commit": commit}
    return pins


def pinned(obj: T, pins: Mapping[str, Mapping[str, str]]) -> T:
    """Return an object with its names on the Hub at these commits, as far as it still has those names."""
    here = config.locations(obj)
    moves = [(address, at_commit(pin)) for address, pin in pins.items() if here.get(address) == pin["location"]]
    if not moves:
        return obj
    return config.load(type(obj), config.dump(obj), [(address, json.dumps(location)) for address, location in moves])


def at_commit(pin: Mapping[str, str]) -> str:
    """The location of a pin at its commit."""
    name = parse(pin["location"])
    return pin["location"] if name is None else str(name.at(pin["commit"]))

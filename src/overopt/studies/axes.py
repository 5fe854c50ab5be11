"""The axes along which a study varies its runs, and readable names for the resulting runs.

```yaml
grid: {SELECTOR: {dotted.address: [value, ...]}}    # every combination; {label: value, ...} names the values
lists: {SELECTOR: [{dotted.address: value, ...}]}   # settings that change together; {label: {...}, ...} names them
seeds: [0, 1]                                       # every run of the study, its parents too, once for each
```

A run varies along the axes of its own selectors and along those of its ancestors: a parent is built once for all
children that agree with it, and each child descends from one variant of each parent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

EVERY = "*"
LONGEST_NAME = 200
"""Characters of a run's name. File systems allow 255 bytes, and a checkpoint that is being written has a longer one."""


@dataclass(frozen=True)
class Point:
    """One setting on an axis: values by address, and the label that the file gives it, if any."""

    values: Mapping[str, Any]
    label: str = ""


@dataclass(frozen=True, eq=False)  # two axes are never equal, even with the same points
class Axis:
    """Settings of which each run takes one. `place` is the axis's address in the file."""

    selector: str
    place: tuple[str, ...]
    points: tuple[Point, ...]

    @property
    def addresses(self) -> set[str]:
        return {address for point in self.points for address in point.values}


Assignment = dict[Axis, int]
"""The index of the chosen point on each axis."""


def axes_of(grid: Mapping[str, Any], lists: Mapping[str, Any], seeds: Sequence[int]) -> list[Axis]:
    """All axes, in the order in which names show them. Whatever `problems_in` reports is left out."""
    axes = [
        Axis(selector, ("grid", selector, address), tuple(Point({address: v}, label) for label, v in _points(values)))
        for selector, block in grid.items()
        for address, values in block.items()
    ]
    axes += [
        Axis(selector, ("lists", selector), tuple(Point(v, label) for label, v in _points(settings)))
        for selector, settings in lists.items()
    ]
    if seeds:
        axes.append(Axis(EVERY, ("seeds",), tuple(Point({"seed": seed}) for seed in seeds)))
    return [axis for axis in axes if axis.points]


def problems_in(grid: Mapping[str, Any], lists: Mapping[str, Any], seeds: Sequence[int]) -> Iterator[str]:
    """A message for everything in `grid`, `lists` and `seeds` that is not an axis."""
    for selector, block in grid.items():
        if not block:
            yield f"grid.{selector}: is empty; give it an address with a list of values, or remove it"
        for address, values in block.items():
            yield from _problems_of_axis(f"grid.{selector}.{address}", values, "values")
            if address == "stage":
                yield f"grid.{selector}.stage: a run has one stage; write another run under `runs`"
    for selector, settings in lists.items():
        yield from _problems_of_axis(f"lists.{selector}", settings, "settings")
        for _, setting in _points(settings):
            if not isinstance(setting, Mapping) or not setting:
                yield f"lists.{selector}: expected blocks of `dotted.address: value`, got {value_text(setting)!r}"
    if len(set(seeds)) < len(seeds):
        yield "seeds: one of them is repeated"
    if seeds and any("seed" in block for block in grid.values()):
        yield "seeds: the grid varies `seed` as well; keep one of the two"


def _problems_of_axis(place: str, values: Any, what: str) -> Iterator[str]:
    if not isinstance(values, list | tuple | Mapping) or "name" in values:  # a block with a name is one value
        yield f"{place}: expected a list of {what}, got {value_text(values)!r}; a single value belongs under `runs`"
    elif not values:
        yield f"{place}: is empty; give it {what}, or remove it"


def _points(values: Any) -> list[tuple[str, Any]]:
    """(label, value) of each point of an axis."""
    if isinstance(values, Mapping):
        return [(str(label), value) for label, value in values.items()]
    return [("", value) for value in values] if isinstance(values, list | tuple) else []


def axes_at(axes: Sequence[Axis], selectors: Sequence[str]) -> list[Axis]:
    """The axes of the selectors, given from wide to narrow; a narrow axis replaces a wider one of the same address."""
    found: list[Axis] = []
    for selector in selectors:
        narrower = [axis for axis in axes if axis.selector == selector]
        taken = {address for axis in narrower for address in axis.addresses}
        found = [axis for axis in found if not axis.addresses & taken] + narrower
    return sorted(found, key=axes.index)


def run_name(run: str, assignment: Assignment, own: Sequence[Axis], axes: Sequence[Axis]) -> str:
    """`kl-coef=0.2-seed=1`: the run, then its settings. A setting of an ancestor is prefixed by its selector."""
    chosen = [axis for axis in axes if axis in assignment]
    parts = []
    for axis in sorted(chosen, key=lambda axis: (axis.place == ("seeds",), axis in own)):
        point = axis.points[assignment[axis]]
        prefix = "" if axis in own or axis.selector == EVERY else f"{axis.selector}."
        others = {address for other in chosen if other in own for address in other.addresses}
        parts.append(prefix + (_safe(point.label) if point.label else _settings(point, axis.addresses | others)))
    return "-".join([run, *parts])


def setting_of(own: Assignment) -> dict[str, Any]:
    """What a run's own axes set, the seed apart, by the last part of the address; a label stands for its values."""
    setting: dict[str, Any] = {}
    for axis, chosen in own.items():
        point = axis.points[chosen]
        for address, value in point.values.items():
            if address != "seed":
                plain = isinstance(value, int | float | str) and not isinstance(value, bool)
                setting[address.removesuffix(".name").rpartition(".")[2]] = point.label or (
                    value if plain else value_text(value)
                )
    return setting


def _settings(point: Point, others: set[str]) -> str:
    return "-".join(f"{_short_address(address, others)}={value_text(value)}" for address, value in point.values.items())


def _short_address(address: str, others: set[str]) -> str:
    """The shortest end of an address that distinguishes it from the others."""
    keys = address.removesuffix(".name").split(".")
    rest = [other.removesuffix(".name").split(".") for other in others if other != address]
    for count in range(1, len(keys) + 1):
        tail = keys[-count:]
        if not tail[0].isdecimal() and all(other[-count:] != tail for other in rest):
            return ".".join(tail)
    return ".".join(keys)


def value_text(value: Any) -> str:
    """A value as part of a file name: `0.2`, `1e-5`, `simpo,gamma=1`, `kl,coef=0.2+entropy_sum`, `none`."""
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Mapping):
        rest = [f"{key}={value_text(item)}" for key, item in value.items() if key != "name"]
        return ",".join([*([_safe(str(value["name"]))] if "name" in value else []), *rest])
    if isinstance(value, list | tuple):
        return "+".join(map(value_text, value))
    return _safe(str(value).rstrip("/").rpartition("/")[2])


def _number(value: float) -> str:
    """The shorter exact spelling, such as `0.0005` or `5e-4`."""
    short = f"{value:g}"
    texts = [short if math.isfinite(value) and float(short) == value else repr(value)]
    if 0 < abs(value) < 0.01:
        texts += [text for digits in range(6) if float(text := f"{value:.{digits}e}") == value][:1]
    return min((re.sub(r"e\+?(-?)0*(\d)", r"e\1\2", text) for text in texts), key=len)


def _safe(text: str) -> str:
    return re.sub(r"[^\w.+=,-]+", "_", text)

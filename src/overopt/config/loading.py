"""From YAML or a plain tree to an object, or to one error that lists every problem with its place."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from overopt.config import plugins, yaml12
from overopt.config.blocks import adapter, annotation_at, block_of, fields_of, stage_of
from overopt.config.messages import as_yaml, did_you_mean, explain_error
from overopt.config.overrides import address_of, complete, dotted, outer_first, override, parse_override
from overopt.config.yaml12 import Address
from overopt.errors import ConfigError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class _Places:
    """Records where each value came from: lines of the file, flags of the command line."""

    file: str | None
    lines: Mapping[Address, int]
    flags: dict[Address, str]

    def locate(self, address: Address) -> tuple[tuple[int, int], str]:
        """Return a sort key, and `FILE:LINE: address: ` or `--address: `."""
        if address[-1:] == ("name",) and address not in self.lines and address not in self.flags:
            address = address[:-1]  # the short spelling: `loss: simpo` has no name of its own
        flag = self._flag(address)
        if flag is not None:
            return (1, 0), f"--{flag}: " + ("" if flag == dotted(address) else f"{dotted(address)}: ")
        line = next((self.lines[address[:n]] for n in range(len(address), -1, -1) if address[:n] in self.lines), 1)
        place = "" if self.file is None else f"{self.file}:{line}: "
        return (0, line), place + (f"{dotted(address)}: " if address else "")

    def _flag(self, address: Address) -> str | None:
        """Return the flag that set the value: at the address, above it or, if the file is silent there, below it."""
        around = [address[:n] for n in range(len(address), 0, -1)]
        inside = [] if address in self.lines or not address else [a for a in self.flags if a[: len(address)] == address]
        return next((self.flags[a] for a in around + inside if a in self.flags), None)


def load(
    target: type[T] | Mapping[str, type[T]],
    source: Path | str | Mapping[str, Any],
    overrides: Sequence[tuple[str, str]] = (),
    base: Path | None = None,
    override_base: Path | None = None,
) -> T:
    """Build an object from a YAML file or a plain tree.

    `target` is a block, or blocks by the names that the key `stage` may have. `overrides` are pairs of a dotted address
    and a YAML text. Locations in `source` are relative to `base`: by default the file's folder, for a tree the working
    directory; those in overrides to `override_base`, by default the working directory. Raises one ConfigError with all
    errors.
    """
    plugins.forget_edited()
    file = None if isinstance(source, Mapping) else str(source)
    document = yaml12.Document(dict(source)) if isinstance(source, Mapping) else _read(Path(source))
    places = _Places(file, document.lines, {})
    problems = [((0, line), f"{file}:{line}: {dotted(address)}: {what}") for address, line, what in document.problems]
    cls, tree, overrides = _pick_stage(target, dict(document.tree), overrides, places)
    folder = base or (Path.cwd() if file is None else Path(file).parent)
    tree = complete(cls, tree, folder.resolve())
    for flag, text in outer_first(overrides):
        try:
            address = address_of(cls, tree, flag)
            tree = complete(cls, override(cls, tree, address, parse_override(text)), override_base or Path.cwd())
            places.flags[address] = flag
        except LookupError as error:
            problems.append(((1, 0), f"--{flag}: {error}"))
    try:
        loaded: T = adapter(cls).validate_json(json.dumps(tree, default=repr), strict=True)
    except ValidationError as error:
        problems += [_problem(details, cls, tree, places) for details in error.errors(include_url=False)]
    if problems:
        raise ConfigError(text for _, text in sorted(problems, key=lambda problem: problem[0]))
    return loaded


def _read(path: Path) -> yaml12.Document:
    try:
        document = yaml12.parse(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError([f"{path}: no such file"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            [f"{path}: not a text file in UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"]
        ) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except yaml12.YamlError as error:
        raise ConfigError([f"{path}:{error.line}: does not parse as YAML: {error.problem}"]) from None
    if document.tree is None:
        raise ConfigError([f"{path}: the file is empty; it must hold `key: value` lines"])
    if not isinstance(document.tree, dict):
        line = document.lines[()]
        raise ConfigError([f"{path}:{line}: expected `key: value` lines, got {as_yaml(document.tree)}"])
    return document


def _pick_stage(
    target: Any, tree: dict[str, Any], overrides: Sequence[tuple[str, str]], places: _Places
) -> tuple[type, dict[str, Any], Sequence[tuple[str, str]]]:
    """Return the class that `stage` names, and the tree and the overrides without `stage`."""
    own = stage_of(target) if isinstance(target, type) else None
    if isinstance(target, type) and own is None:
        return target, tree, overrides
    stages: dict[str, type] = dict(target) if own is None else {own: target}
    stage = tree.pop("stage", own)
    for flag, text in overrides:
        if flag == "stage":
            stage, places.flags[("stage",)] = text, flag
    if stage is None:
        raise ConfigError([f"{places.locate(())[1]}the key `stage` is missing (valid: {', '.join(stages)})"])
    if not isinstance(stage, str) or stage not in stages:
        problem = f"unknown stage {stage!r} ({did_you_mean(str(stage), stages)})"
        raise ConfigError([places.locate(("stage",))[1] + problem])
    if stage_of(stages[stage]) != stage:
        raise TypeError(f"{stages[stage].__name__} needs the class variable `stage: ClassVar[str] = {stage!r}`")
    return stages[stage], tree, [override for override in overrides if override[0] != "stage"]


def _problem(details: ErrorDetails, target: type, tree: Any, places: _Places) -> tuple[tuple[int, int], str]:
    address: Address = tuple(details["loc"])
    order, place = places.locate(address)
    context = details.get("ctx", {})
    if details["type"] == "unexpected_keyword_argument":
        cls = block_of(*annotation_at(target, tree, address[:-1]))
        what = f"unknown key ({did_you_mean(str(address[-1]), fields_of(cls) if cls else ())})"
    elif details["type"] == "overopt_choice":
        what = str(context["message"])
    else:
        what = explain_error(details["type"], details["input"], context, details["msg"])
    return order, place + what

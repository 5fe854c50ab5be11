"""Fields that say where something lies: on this machine, or on the Hub."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from pydantic_core import core_schema

from overopt.errors import UserError
from overopt.hub import names

_WORDS: dict[names.Kind, str] = {"model": "model", "dataset": "data set"}


@dataclass(frozen=True)
class LocationMark:
    """Marks a string as a path or, of the kind given, the name of a repository on the Hub."""

    hub: names.Kind | None

    def spelled_out(self, location: str, base: Path) -> str:
        """Return a location relative to `base` in full: an absolute path, or `hf://...`.

        One that is misspelled stays as it is.
        """
        try:
            name = None if self.hub is None else names.located(location, base, self.hub)
        except UserError:
            return location
        if name is not None:
            return str(name)
        return location if location.startswith(names.PROTOCOL) else absolute_path(location, base)

    def checked(self, location: str) -> str:
        """Return a location, a name on the Hub in full; ValueError: it is misspelled, or of another kind."""
        try:
            name = names.located(location, Path.cwd(), self.hub) if self.hub else names.parse(location)
        except UserError as error:
            raise ValueError(str(error)) from error
        if name is None:
            return location
        if self.hub is None:
            raise ValueError(f"{location} is on the Hub; a path on this machine is needed here")
        if name.kind != self.hub:
            written = "hf://datasets/" if self.hub == "dataset" else "hf://"
            raise ValueError(
                f"{location} is a {_WORDS[name.kind]}; a {_WORDS[self.hub]} is written {written}{name.repo}"
            )
        return str(name)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.checked, handler(source))


Location = Annotated[str, Field(min_length=1), LocationMark("model")]
"""A run directory, a model folder or a GGUF file; or a model on the Hub, `OWNER/NAME` or `OWNER/NAME@REVISION`.

A path is written relative to the YAML's folder (on the command line, the working directory) and is absolute once
loaded; a name on the Hub is `hf://...` then.
"""
DataLocation = Annotated[str, Field(min_length=1), LocationMark("dataset")]
"""A file, a folder of files or a pattern; or a data set on the Hub."""
Folder = Annotated[str, Field(min_length=1), LocationMark(None)]
"""A path on this machine."""


def location_mark(marks: list[Any]) -> LocationMark | None:
    """The mark of a location among the marks of an annotation, if it is one."""
    return next((mark for mark in marks if isinstance(mark, LocationMark)), None)


def absolute_path(path: str, base: Path) -> str:
    """Make a path absolute that is relative to `base`."""
    return os.path.normpath(os.path.join(base, os.path.expanduser(path)))


def written(location: str, relative_to: Path | None) -> str:
    """Return a location as a YAML file in the folder `relative_to` spells it."""
    if location.startswith(names.PROTOCOL):
        return location
    absolute = absolute_path(location, Path.cwd())
    return absolute if relative_to is None else os.path.relpath(absolute, relative_to.resolve())

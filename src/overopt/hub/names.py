"""Names of repositories on the Hub, and how they are told from paths.

In full `hf://OWNER/NAME@REVISION`, of a data set `hf://datasets/OWNER/NAME@REVISION/PATTERN`, as huggingface_hub's file
system spells them. The short `OWNER/NAME@REVISION` is a name where nothing on this machine can be meant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from overopt.datafiles import extension
from overopt.errors import UserError

Kind = Literal["model", "dataset"]

PROTOCOL = "hf://"
COMMIT = re.compile(r"[0-9a-f]{40}")
_PART = r"(?!.*(?:--|\.\.))[A-Za-z0-9_][A-Za-z0-9._-]{0,95}(?<![.-])"
_REPO = re.compile(f"{_PART}/{_PART}")
_SPECIAL = re.compile(r"refs/(?:convert/[\w.-]+|pr/\d+)(?=/|$)")
"""Revisions with a slash that the Hub makes itself; in other revisions a slash is written %2F."""
_REVISION = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][\w./+-]{0,254}")
_WEB = re.compile(r"https?://(?:huggingface\.co|hf\.co)/")
_KINDS: dict[str, Kind] = {"models": "model", "datasets": "dataset"}
_NO_OWNERS = {"runs", "out", "data", *_KINDS}
"""Names of folders that everybody has, also where they do not exist yet."""


@dataclass(frozen=True)
class HubName:
    """A repository on the Hub at a revision; `str` writes it in full."""

    kind: Kind
    repo: str
    """OWNER/NAME."""
    revision: str | None = None
    """A branch, a tag or a commit; None: the branch `main`."""
    pattern: str | None = None
    """Which files of a data set, such as `data/train-*.parquet`."""

    def __str__(self) -> str:
        revision = self.revision or ""
        if not _SPECIAL.fullmatch(revision):
            revision = revision.replace("/", "%2F")
        return "".join(
            [
                PROTOCOL,
                "datasets/" if self.kind == "dataset" else "",
                self.repo,
                f"@{revision}" if revision else "",
                f"/{self.pattern}" if self.pattern else "",
            ]
        )

    @property
    def commit(self) -> str | None:
        """The revision, if it is a whole commit, which never moves."""
        return self.revision if self.revision is not None and COMMIT.fullmatch(self.revision) else None

    def at(self, commit: str) -> HubName:
        """The same repository and files at another revision."""
        return replace(self, revision=commit)


def parse(location: str) -> HubName | None:
    """Return the name that a location in full spells, None for a path; UserError for one that is misspelled."""
    if _WEB.match(location):
        raise UserError(f"{location} is the address of a page; write OWNER/NAME, or hf://datasets/OWNER/NAME")
    if not location.startswith(PROTOCOL):
        return None
    first, _, rest = location.removeprefix(PROTOCOL).partition("/")
    kind = _KINDS.get(first, "model")
    if first not in _KINDS:
        rest = f"{first}/{rest}"
    head, at, tail = rest.partition("@")
    owner, _, below = head.partition("/")
    name, _, pattern = below.partition("/")
    revision = None
    if at and not pattern:
        special = _SPECIAL.match(tail)
        revision = special[0] if special else tail.partition("/")[0]
        pattern = tail[len(revision) :].removeprefix("/")
        revision = revision.replace("%2F", "/").replace("%2f", "/")
    elif at:  # a pattern may hold @
        pattern += f"@{tail}"
    _check(location, f"{owner}/{name}", revision, pattern)
    if pattern and kind == "model":
        raise UserError(
            f"{location}: a model is the whole repository, not {pattern} in it (a GGUF file: fetch it by "
            f"`hf download {owner}/{name} {pattern} --local-dir FOLDER` and name its path; a data set is written "
            f"hf://datasets/{owner}/{name})"
        )
    return HubName(kind, f"{owner}/{name}", revision, pattern or None)


def _check(location: str, repo: str, revision: str | None, pattern: str) -> None:
    spelled = f"{location}: no name on the Hub"
    if not _REPO.fullmatch(repo):
        raise UserError(f"{spelled}; write hf://OWNER/NAME@REVISION, or hf://datasets/OWNER/NAME@REVISION/PATTERN")
    if revision is not None and not _REVISION.fullmatch(revision):
        raise UserError(f"{spelled}: {revision!r} cannot be a revision (a branch, a tag or a commit)")
    if not is_inside(pattern or "."):
        raise UserError(f"{spelled}: {pattern!r} is no path inside a repository")


def is_inside(path: str) -> bool:
    """Whether a path of a repository stays in its folder on every system."""
    parts = re.split(r"[/\\]", path)
    return ".." not in parts and "" not in parts and "\0" not in path and not re.match(r"[A-Za-z]:", path)


def located(text: str, base: Path, kind: Kind) -> HubName | None:
    """Return the repository that a location means, in full or in short; None for a path relative to `base`.

    UserError for a name in full that is misspelled.
    """
    if text.startswith(PROTOCOL) or _WEB.match(text):
        return parse(text)
    repo, at, revision = text.partition("@")
    if not _REPO.fullmatch(repo) or (at and not _REVISION.fullmatch(revision)):
        return None
    first = repo.partition("/")[0]
    is_file = extension(Path(text)) or Path(text).suffix in (".gguf", ".yaml", ".yml")
    if first in _NO_OWNERS or is_file or (base / first).exists() or (base / text).exists():
        return None
    return HubName(kind, repo, revision or None)


def short(location: str) -> str:
    """The last part of a location, to show: a folder's name, or a repository's without owner and revision."""
    name = parse(location)
    return Path(location).name if name is None else name.repo.partition("/")[2]

"""Puts files into a model repository on the Hub, by one commit after which it holds these files and no others."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overopt.errors import UserError
from overopt.hub.download import offline, token
from overopt.hub.errors import asking, endpoint, page_of
from overopt.hub.names import PROTOCOL, HubName, parse
from overopt.redaction import redact

MARK = "overopt.yaml"
"""The file by which a repository that was pushed from here is known: the run's settings."""
BESIDES = {".gitattributes", "README.md"}
"""Files that a new repository may hold."""
TEXT, WEIGHTS = 50_000_000, {".safetensors", ".png"}
"""Files of more bytes, or with these suffixes, are not searched for secrets before they are pushed."""


@dataclass(frozen=True)
class Pushed:
    """Where the files went."""

    name: HubName
    page: str

    def __str__(self) -> str:
        return f"{self.page}\ncommit {self.name.revision}; as a parent: {self.name}"


def repository(repo: str) -> HubName:
    """The repository OWNER/NAME that a push may go to; UserError for anything else."""
    name = parse(repo if repo.startswith(PROTOCOL) else f"{PROTOCOL}{repo}")
    if name is None or name.kind != "model" or name.revision is not None:
        raise UserError(f"{repo}: push takes a model repository, OWNER/NAME, and writes to its branch main")
    return name


def push(files: Mapping[str, Path], name: HubName, message: str, public: bool = False) -> Pushed:
    """Commit files, by their paths in the repository; `MARK` is among them. Other files of the repository are removed.

    A repository that is not there is made: private, unless `public`. UserError, before anything is sent: without a
    token or a network, if the repository holds what was not pushed from here, and if a file holds a secret.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    if offline():
        raise UserError(f"{name.repo}: cannot be pushed while HF_HUB_OFFLINE is set")
    if not token():
        raise UserError(f"{name.repo}: to push, set HF_TOKEN to a token that may write ({endpoint()}/settings/tokens)")
    for path, file in files.items():
        _check_secrets(path, file)
    with asking(name):
        api = HfApi(endpoint=endpoint(), token=token(), library_name="overopt")
        there = _files(api, name)
        api.create_repo(name.repo, private=not public, exist_ok=True)
        operations: list[Any] = [CommitOperationAdd(path, str(file)) for path, file in files.items()]
        operations += [CommitOperationDelete(path) for path in sorted(there - files.keys() - {".gitattributes"})]
        made = api.create_commit(name.repo, operations, commit_message=message)
    return Pushed(name.at(str(made.oid)), page_of(name))


def _files(api: Any, name: HubName) -> set[str]:
    """The files of a repository, none if it does not exist; UserError if they were not pushed from here."""
    try:
        files = {sibling.rfilename for sibling in api.model_info(name.repo).siblings or []}
    except Exception as error:
        if type(error).__name__ == "RepositoryNotFoundError":
            return set()
        raise
    if MARK not in files and files - BESIDES:
        raise UserError(
            f"{name.repo}: holds files that were not pushed by overopt ({min(files - BESIDES)}), which a push would "
            "remove; choose another name, or empty that repository"
        )
    return files


def _check_secrets(path: str, file: Path) -> None:
    """Raise UserError if a file other than weights holds a secret of the environment."""
    if file.suffix in WEIGHTS or file.stat().st_size > TEXT:
        return
    text = file.read_bytes().decode("utf-8", "surrogateescape")
    for variable, value in os.environ.items():
        if len(value.strip()) >= 8 and value.strip() in text and redact(value) != value:
            raise UserError(f"{path}: holds the value of {variable}, which must not be published; remove it")

"""Fetches what a name on the Hub means into the cache that all Hugging Face libraries share.

A branch may move, so it is resolved to a commit first. The Hub's list of the files at that commit says what there is
before anything large is fetched, and afterwards whether what arrived is what was meant: the library compares sizes
only. Where the network is off or fails, a whole copy in the cache does.
"""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from overopt.errors import UserError, say
from overopt.hub.errors import ROOM, asking, broke, cache, endpoint, explain, missing
from overopt.hub.names import COMMIT, HubName, is_inside
from overopt.records.hashing import hash_file

GB = 1_000_000_000
WAITS = (2.0, 8.0)
"""Seconds to wait before a download that broke off goes on: the library repeats some broken connections, not all."""
TIMEOUT = 20.0
"""Seconds to wait for the Hub's list of files."""


@dataclass(frozen=True)
class RemoteFile:
    """What is known of a file."""

    size: int
    sha256: str | None = None
    """Of large files; of the others the Hub knows git's hash only."""
    git_hash: str | None = None


@dataclass(frozen=True)
class Listing:
    """The files of a repository at one commit, by path."""

    name: HubName
    """With the commit as its revision."""
    files: Mapping[str, RemoteFile]
    trouble: str | None = None
    """Why the Hub could not be asked, if the list is that of the cache."""
    partial: bool = False
    """Whether the list may lack files, because nothing but the files in the cache is known."""


_LISTINGS: dict[tuple[str, str], Listing] = {}
"""By endpoint and name at a commit, which never changes."""


def commit_of(name: HubName) -> str:
    """Return the commit at which a name's revision stands; UserError if it cannot be found out."""
    return name.commit or str(listing(name).name.revision)


def listing(name: HubName) -> Listing:
    """Return the files of a repository: those that the Hub lists or, where it cannot be asked, those of the cache."""
    with asking(name):
        key = endpoint(), str(name)
        found = _LISTINGS.get(key)
        if found is None:
            try:
                found = _listed(name)
            except Exception as error:
                found = _cached(name, error)
                if found is None:
                    raise
                if name.commit is None:  # what is older than the branch may be another model
                    known = str(found.name.revision)[:7]
                    say(f"{name}: its copy in the cache is used, commit {known} ({found.trouble})")
            else:
                _remember(name, str(found.name.revision))
                _LISTINGS[endpoint(), str(found.name)] = found
        return found


def fetch(found: Listing, files: Collection[str]) -> Path:
    """Return the folder of a repository in the cache, in which these files of its list lie.

    What is missing is fetched, and all of them are compared with the hashes that the Hub lists. UserError: it cannot be
    fetched, is damaged, or is missing from the cache while the network is off.
    """
    name, folder = found.name, _folder(found.name)
    lacking = [file for file in files if not (folder / file).is_file()]
    if lacking and found.trouble is not None:
        raise UserError(f"{name}: {missing(name, ', '.join(lacking[:3])) if offline() else found.trouble}")
    if lacking:
        _check_room(found, lacking)
        with asking(name):
            _download(name, lacking)
    for file in files:
        _check_content(name, folder / file, found.files[file])
    return folder


def offline() -> bool:
    """Whether HF_HUB_OFFLINE turns the network off."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def token() -> str | bool:
    """The token in HF_TOKEN; False for none. One that was saved by `hf auth login` is not used."""
    return os.environ.get("HF_TOKEN", "").strip() or False


# --- Lists of files


def _listed(name: HubName) -> Listing:
    """Ask the Hub."""
    from huggingface_hub import utils

    api: Any = utils

    url = f"{endpoint()}/api/{name.kind}s/{name.repo}/revision/{quote(name.revision or 'main', safe='')}"
    headers = api.build_hf_headers(token=token(), library_name="overopt")
    tries = 1 if _cached_commit(name) else 5  # with a copy at hand nobody needs to wait for a network that is down
    response = api.http_backoff(
        "GET", url, params={"blobs": "true"}, headers=headers, timeout=TIMEOUT, max_retries=tries
    )
    api.hf_raise_for_status(response)
    said = response.json()
    commit, siblings = said.get("sha"), said.get("siblings") or []
    if not isinstance(commit, str) or not COMMIT.fullmatch(commit):
        raise UserError(f"{name}: {endpoint()} answers without a commit; is it a Hub? Check HF_ENDPOINT")
    return Listing(name.at(commit), _inside(name, {row["rfilename"]: _remote(row) for row in siblings}))


def _remote(row: Mapping[str, Any]) -> RemoteFile:
    return RemoteFile(int(row.get("size") or 0), (row.get("lfs") or {}).get("sha256"), row.get("blobId"))


def _inside(name: HubName, files: dict[str, RemoteFile]) -> dict[str, RemoteFile]:
    """The files themselves; UserError if one of them would lie outside the repository's folder."""
    outside = [path for path in files if not is_inside(path)]
    if outside:
        raise UserError(f"{name}: lists a file outside its folder ({outside[0]!r}); nothing of it was fetched")
    return files


def _cached(name: HubName, error: BaseException) -> Listing | None:
    """The list of the copy in the cache, with why the Hub could not be asked; None if there is no copy."""
    commit = _cached_commit(name)
    if commit is None:
        return None
    listed = _cached_tree(name.at(commit))
    files = dict(_walked(_folder(name.at(commit)))) if listed is None else listed
    trouble = "HF_HUB_OFFLINE is set" if offline() else explain(name, error)
    return Listing(name.at(commit), _inside(name, files), trouble, partial=listed is None)


def _cached_commit(name: HubName) -> str | None:
    """The commit of the copy in the cache, as far as there is one."""
    commit = name.commit
    if commit is None:
        with suppress(OSError, ValueError):
            commit = (_repository(name) / "refs" / (name.revision or "main")).read_text(encoding="ascii").strip()
    known = commit is not None and COMMIT.fullmatch(commit) and _folder(name.at(commit)).is_dir()
    return commit if known else None


def _cached_tree(name: HubName) -> dict[str, RemoteFile] | None:
    """The list that the library keeps of what it has fetched; versions before 2.0 keep none."""
    try:
        from huggingface_hub import get_cached_repo_tree

        rows = get_cached_repo_tree(name.repo, repo_type=name.kind, revision=name.revision)
    except Exception:  # whatever is wrong with it: the files themselves are there to look at
        return None
    return {row.path: RemoteFile(row.size) for row in rows}


def _walked(folder: Path) -> Iterator[tuple[str, RemoteFile]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), RemoteFile(path.stat().st_size)


# --- The cache


def _repository(name: HubName) -> Path:
    return cache() / f"{name.kind}s--{name.repo.replace('/', '--')}"


def _folder(name: HubName) -> Path:
    return _repository(name) / "snapshots" / str(name.revision)


def _remember(name: HubName, commit: str) -> None:
    """Note where a branch stands, as the library does, for a time without network."""
    if name.commit is None:
        with suppress(OSError):  # a cache that cannot be written may still hold everything
            ref = _repository(name) / "refs" / (name.revision or "main")
            ref.parent.mkdir(parents=True, exist_ok=True)
            new = ref.with_name(f"{ref.name}.{os.getpid()}")
            new.write_text(commit, encoding="ascii")
            new.replace(ref)


def _check_room(found: Listing, files: Collection[str]) -> None:
    """Raise UserError if the files do not fit on the disk, before the first of them is fetched."""
    needed = sum(found.files[file].size for file in files)
    place = next(folder for folder in (cache(), *cache().absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise UserError(
            f"{found.name}: needs {needed / GB:.1f} GB in {cache()}, where {free / GB:.1f} GB are free; {ROOM}"
        )


def _download(name: HubName, files: Collection[str]) -> None:
    from huggingface_hub import snapshot_download

    fetch_all = partial(
        snapshot_download,
        name.repo,
        repo_type=name.kind,
        revision=name.revision,
        allow_patterns=[glob.escape(file) for file in files],
        token=token(),
        library_name="overopt",
    )
    for wait in WAITS:
        try:
            fetch_all()
        except Exception as error:
            if not broke(error):
                raise
            time.sleep(wait)
        else:
            return
    fetch_all()


def _check_content(name: HubName, path: Path, meant: RemoteFile) -> None:
    """Raise UserError, and remove the file, if it is not the one that the Hub lists."""
    if not path.is_file():
        raise UserError(f"{name}: the Hub lists {path.name}, but gave no such file; try again later")
    if meant.sha256 is not None:
        right = hash_file(path) == meant.sha256  # its hash is kept: a run asks for it again
    elif meant.git_hash is not None:
        content = path.read_bytes()
        right = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == meant.git_hash
    else:
        return
    if not right:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise UserError(
            f"{name}: {path.name} is damaged: its content has another hash than the Hub lists. It was removed from the "
            "cache; the same command fetches it again (if that does not help, a proxy on the way changes it)"
        )

"""What the user is told when a repository on the Hub cannot be fetched: one sentence, whatever the library raised.

The library's classes are known by name, since they and the HTTP library below them move between versions; its words are
shown only where nothing better is known, without secrets.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from overopt.errors import UserError
from overopt.hub.names import HubName
from overopt.redaction import excerpt

AGAIN = "what has arrived is kept, and the same command fetches the rest"
_WORDS = {"model": "model", "dataset": "data set"}
_BROKEN = {"TransportError", "TimeoutException", "NetworkError", "ProtocolError", "ConnectionError", "TimeoutError"}
"""Classes of errors of a connection, in any HTTP library."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def asking(name: HubName) -> Iterator[None]:
    """Turn whatever the library raises within into a UserError about this repository."""
    try:
        yield
    except (UserError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a panic of a Rust library is not an Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise UserError(f"{name}: {explain(name, error)}") from None  # the library's words may hold a secret


def explain(name: HubName, error: BaseException) -> str:
    """Return why a repository could not be fetched, and what to do."""
    chain = _chain(error)
    kinds = {cls.__name__ for one in chain for cls in type(one).__mro__}
    number = next((one.errno for one in chain if isinstance(one, OSError) and one.errno), None)
    what, page = _WORDS[name.kind], page_of(name)
    if number in _FULL:
        return f"the disk of the cache ({cache()}) is full; {ROOM}"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
        return f"the cache ({cache()}) cannot be written; set HF_HOME to a folder of your own"
    if "GatedRepoError" in kinds:
        return f"access to this {what} must be granted: accept its conditions at {page}, and {_token_advice()}"
    if "RevisionNotFoundError" in kinds:
        return f"has no revision {name.revision!r}; {page}/tree/main lists its branches and tags"
    if "RepositoryNotFoundError" in kinds:
        return (
            f"no {what} of this name is on the Hub ({page}), and no folder of this name here; is it spelled right? If "
            f"it is private: {_token_advice()}"
        )
    if "OfflineModeIsEnabled" in kinds:
        return missing(name, "it")
    answered: list[Any] = [one for one in chain if getattr(one, "response", None) is not None]
    status = answered[0].response.status_code if answered else None
    said = excerpt(str(answered[0] if answered else error))
    match status:
        case 401:
            return f"the Hub refuses the token in HF_TOKEN; make a new one ({said})"
        case 403:
            return f"the Hub forbids it; {_token_advice()} ({said})"
        case 404:
            return f"the Hub lists a file that it does not have; try again later ({said})"
        case 429:
            return f"the Hub asks for fewer requests (429; with HF_TOKEN it allows more); wait some minutes: {AGAIN}"
        case int() if status >= 500:
            return f"the Hub has a fault of its own ({status}); try again later: {AGAIN}"
    if "FileMetadataError" in kinds or "JSONDecodeError" in kinds:
        return f"what answers at {endpoint()} is no Hub; check HF_ENDPOINT, a proxy, or a network's sign-in"
    if broke(error):
        return f"the connection to {endpoint()} broke or could not be made; {AGAIN} ({said})"
    return f"cannot be fetched ({type(error).__name__}: {said})"


ROOM = "make room (`hf cache ls` and `hf cache rm` show and empty it), or set HF_HOME to a folder on another disk"


def missing(name: HubName, what: str) -> str:
    """Return what to say where the network is off and the cache lacks `what`."""
    kind = " --repo-type dataset" if name.kind == "dataset" else ""
    revision = f" --revision {name.revision}" if name.revision else ""
    files = f" --include '{name.pattern}'" if name.pattern else ""
    return (
        f"HF_HUB_OFFLINE is set, and the cache ({cache()}) lacks {what}; where there is a network: "
        f"hf download {name.repo}{kind}{revision}{files}"
    )


def endpoint() -> str:
    """The address of the Hub that is used: HF_ENDPOINT, or huggingface.co."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def cache() -> Path:
    """The cache that all Hugging Face libraries share: HF_HUB_CACHE, or `hub/` in HF_HOME."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser()


def page_of(name: HubName) -> str:
    """The address of a repository's page."""
    return f"{endpoint()}/{'datasets/' if name.kind == 'dataset' else ''}{name.repo}"


def broke(error: BaseException) -> bool:
    """Whether a connection broke off or could not be made, which may pass."""
    chain = _chain(error)
    kinds = {cls.__name__ for one in chain for cls in type(one).__mro__}
    return bool(kinds & _BROKEN) or any("Consistency check failed" in str(one) for one in chain)


def _token_advice() -> str:
    if os.environ.get("HF_TOKEN", "").strip():
        return "use a token of an account that has access (the one in HF_TOKEN has none)"
    return "set HF_TOKEN to a token of an account that has access (it is not set)"


def _chain(error: BaseException | None) -> list[BaseException]:
    """An error and those that led to it."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found

"""A Hugging Face Hub on this machine, of which the real huggingface_hub client can ask all that it needs.

    with LoopbackHub() as hub:
        commit = hub.add("model", "owner/name", folder_or_files)             # a commit on the branch main
        hub.add("dataset", "owner/data", {"data/train.jsonl": b"..."}, "v2")   # on another branch
        subprocess.run([...], env=os.environ | hub.environment(cache))       # or `connected` in this process
        hub.fail("429 for a second", "resolve", times=2)

`python tests/fakes/hub.py FOLDER` serves FOLDER/models/OWNER/NAME and FOLDER/datasets/OWNER/NAME until it is stopped.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hub_server import FAULTS, Content, Repository, Request, Server, data, is_large, sha256


@dataclass
class Fault:
    name: str
    where: str
    """A part of the path of the requests that meet it."""
    times: int | None
    """How many requests meet it; None: all."""


class LoopbackHub:
    """Serves until its `with` block ends. `token` is the one that opens gated and private repositories, and pushes."""

    def __init__(self, token: str = "hf_loopback", stall: float = 3.0) -> None:
        self.token, self.stall = token, stall
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.blobs: dict[str, Content] = {}
        """Large files by their SHA-256."""
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.wrong: list[str] = []
        """What a request should not have been."""
        self.waits: list[float] = []
        """Seconds that the client in this process meant to wait."""
        self.lock = threading.RLock()
        self.servers = [Server(self), Server(self)]
        hosts = ("127.0.0.1", "localhost")  # of different names, since some versions of the client see no ports
        self.url, self.cdn = (f"http://{h}:{s.server_address[1]}" for h, s in zip(hosts, self.servers, strict=True))

    def __enter__(self) -> LoopbackHub:
        for server in self.servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def add(
        self,
        kind: str,
        name: str,
        files: Path | Mapping[str, Content | str],
        revision: str = "main",
        gated: bool = False,
        private: bool = False,
    ) -> str:
        """Commit a folder, or contents by path, as all that a repository holds; return the commit."""
        if isinstance(files, Path):
            found = {p.relative_to(files).as_posix(): p for p in sorted(files.rglob("*")) if p.is_file()}
            files = dict(found)
        contents = {path: c.encode() if isinstance(c, str) else c for path, c in files.items()}
        with self.lock:
            repository = self.repositories.setdefault((kind, name), Repository(kind, name))
            repository.gated, repository.private = gated, private
            for path, content in contents.items():
                if is_large(path):
                    self.blobs[sha256(content)] = content
            return repository.commit(contents, revision)

    def add_folder(self, root: Path) -> None:
        """Add every repository of a folder: `models/OWNER/NAME` and `datasets/OWNER/NAME`."""
        for kind in ("model", "dataset"):
            for folder in sorted(root.glob(f"{kind}s/*/*/")):
                self.add(kind, f"{folder.parent.name}/{folder.name}", folder)

    def files(self, kind: str, name: str, revision: str = "main") -> dict[str, bytes]:
        """What a revision holds, such as what was pushed."""
        repository = self.repositories[kind, name]
        return {path: data(content) for path, content in repository.commits[repository.refs[revision]].items()}

    def fail(self, name: str, where: str = "", times: int | None = None) -> None:
        """Let requests whose path contains `where` meet a fault."""
        assert name in FAULTS
        self.faults.append(Fault(name, where, times))

    def environment(self, cache: Path, token: str | None = None) -> dict[str, str]:
        """What a process must find in its environment to use this hub, with a cache of its own."""
        named = {"HF_ENDPOINT": self.url, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
        quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        return {
            **named,
            **quiet,
            "HF_HUB_CACHE": str(cache / "hub"),
            "HF_TOKEN": token or "",
            "NO_PROXY": "127.0.0.1,localhost",
        }

    def asked(self, where: str) -> int:
        """How many requests had this in their path."""
        return sum(where in request.path for request in self.requests)

    def fault_of(self, path: str) -> str | None:
        """The fault that a request meets, if there is one; it is counted."""
        with self.lock:
            for fault in self.faults:
                if fault.where in path and fault.times != 0:
                    fault.times = None if fault.times is None else fault.times - 1
                    return fault.name
        return None


def connected(monkeypatch: Any, hub: LoopbackHub, cache: Path, token: str | None = None) -> list[float]:
    """Make this process use a hub; return the list in which the client's waits are noted instead of waited for."""
    import huggingface_hub
    from huggingface_hub import constants, file_download
    from huggingface_hub.utils import _http

    import overopt.hub.download

    for name, value in hub.environment(cache, token).items():
        monkeypatch.setenv(name, value)
    values = {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HOME": str(cache),
        "HF_HUB_CACHE": str(cache / "hub"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_PROGRESS_BARS": True,
    }  # the library has read the environment already
    for name, value in values.items():
        monkeypatch.setattr(constants, name, value)
    waits: list[float] = []
    clock = SimpleNamespace(**{**vars(time), "sleep": waits.append})
    for module in (_http, file_download, overopt.hub.download):
        monkeypatch.setattr(module, "time", clock)
    huggingface_hub.close_session()
    return waits


if __name__ == "__main__":
    with LoopbackHub() as served:
        served.add_folder(Path(sys.argv[1]))
        print(json.dumps({"HF_ENDPOINT": served.url}), flush=True)
        threading.Event().wait()

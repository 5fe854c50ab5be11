"""Answers what the huggingface_hub client asks of a Hub, or fails to; `hub.py` says what it serves.

Large files (by their name) lie behind a redirect to a second server, as on the Hub, which must not see a token.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import struct
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".safetensors", ".bin", ".pt", ".gguf", ".parquet", ".gz", ".arrow", ".model", ".png")
"""Files with such names are kept by git-lfs."""
FAULTS = ("401", "403 gated", "404", "429 for a second", "429 for an hour", "500", "503", "wrong hash", "slow",
          "slow stream", "HTML", "the token in an error", "cut", "reset", "no reply")  # fmt: skip
"""What may happen in place of an answer."""

Content = bytes | Path


@dataclass
class Repository:
    """A repository's commits, and where its branches and tags stand."""

    kind: str
    name: str
    commits: dict[str, dict[str, Content]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False

    def commit(self, files: Mapping[str, Content], revision: str) -> str:
        """Make a commit that holds these files and nothing else, and put the branch there."""
        listing = "".join(f"{path} {sha256(files[path])}\n" for path in sorted(files))
        made = hashlib.sha1(f"{self.refs.get(revision)} {len(self.commits)}\n{listing}".encode()).hexdigest()
        self.commits[made], self.refs[revision] = dict(files), made
        return made

    def resolve(self, revision: str) -> str | None:
        """The commit of a branch, a tag or a commit."""
        return revision if revision in self.commits else self.refs.get(revision)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    token: str | None
    on_cdn: bool
    range: str | None


def data(content: Content) -> bytes:
    return content.read_bytes() if isinstance(content, Path) else content


def sha256(content: Content) -> str:
    return hashlib.sha256(data(content)).hexdigest()


def git_hash(content: Content) -> str:
    """The hash by which git knows a file."""
    read = data(content)
    return hashlib.sha1(b"blob %d\0" % len(read) + read).hexdigest()


def is_large(path: str) -> bool:
    return path.endswith(LARGE)


def described(path: str, content: Content) -> dict[str, Any]:
    """A file as the Hub lists it."""
    size = len(data(content))
    known = {"type": "file", "path": path, "size": size, "oid": git_hash(content)}
    return known | ({"lfs": {"oid": sha256(content), "size": size, "pointerSize": 130}} if is_large(path) else {})


class Server(ThreadingHTTPServer):
    """Serves a LoopbackHub at a port of its own."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, hub: Any) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub

    def handle_error(self, request: Any, address: Any) -> None:
        error = sys.exception()
        if not isinstance(error, OSError):  # clients that are killed break their connections
            self.hub.wrong.append(repr(error))


class _Refused(Exception):
    def __init__(self, status: int, code: str, said: str = "") -> None:
        self.status, self.code, self.said = status, code, said


REPOSITORY = r"(?P<name>[^/]+/[^/]+)"
ROUTES = {
    "GET": {
        rf"/api/(?P<kind>model|dataset)s/{REPOSITORY}(?:/revision/(?P<revision>.+))?": "info",
        rf"/api/(?P<kind>model|dataset)s/{REPOSITORY}/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?": "tree",
        rf"/api/(?P<kind>model|dataset)s/{REPOSITORY}/refs": "refs",
        r"/api/whoami-v2": "whoami",
        rf"/(?P<kind>datasets/)?{REPOSITORY}/resolve/(?P<revision>[^/]+)/(?P<path>.+)": "resolve",
        r"/blobs/(?P<digest>\w+)": "blob",
    },
    "POST": {
        rf"/api/(?P<kind>model|dataset)s/{REPOSITORY}/paths-info/(?P<revision>.+)": "paths_info",
        r"/api/repos/create": "create",
        r"/api/validate-yaml": "validate",
        rf"/api/(?P<kind>model|dataset)s/{REPOSITORY}/preupload/(?P<revision>.+)": "preupload",
        rf"/(?P<kind>datasets/)?{REPOSITORY}\.git/info/lfs/objects/batch": "batch",
        rf"/api/(?P<kind>model|dataset)s/{REPOSITORY}/commit/(?P<revision>.+)": "commit",
    },
    "PUT": {r"/blobs/(?P<digest>\w+)": "upload"},
}  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Any:
        return self.server.hub  # type: ignore[attr-defined]

    def do_GET(self) -> None:
        self.serve("GET")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.serve("POST")

    def do_PUT(self) -> None:
        self.serve("PUT")

    def serve(self, method: str) -> None:
        address = urlsplit(self.path)
        self.query = parse_qs(address.query)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        on_cdn = self.server is self.hub.servers[1]
        asked = Request(self.command, address.path, self.token, on_cdn, self.headers.get("Range"))
        self.hub.requests.append(asked)
        if on_cdn and self.token:
            self.hub.wrong.append(f"a token was sent to another host: {self.path}")
        self.fault = self.hub.fault_of(address.path)
        if self.fault is not None and self.failed(self.fault):
            return
        for pattern, name in ROUTES[method].items():
            if match := re.fullmatch(pattern, address.path):
                try:
                    getattr(self, f"answer_{name}")(**{k: v and unquote(v) for k, v in match.groupdict().items()})
                except _Refused as refused:
                    self.refuse(refused.status, refused.code, refused.said)
                return
        if address.path != "/api/agent-harnesses":  # which the client asks for besides
            self.hub.wrong.append(f"{method} {self.path}")
        self.refuse(404, "", "no such endpoint")

    # --- Reading

    def repository(self, kind: str | None, name: str, write: bool = False) -> Repository:
        """The repository that is asked for; private and missing ones look alike to strangers, as on the Hub."""
        found = self.hub.repositories.get(((kind or "model").removesuffix("s/"), name))
        known = self.token == self.hub.token
        if self.token and not known:
            raise _Refused(401, "", "Invalid credentials in Authorization header")
        if found is None or ((found.private or write) and not known):
            raise _Refused(404 if known else 401, "RepoNotFound", "Repository not found")
        return found

    def at(self, repository: Repository, revision: str | None) -> tuple[str, dict[str, Content]]:
        commit = repository.resolve(revision or "main")
        if commit is None:
            raise _Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit, repository.commits[commit]

    def answer_info(self, kind: str, name: str, revision: str | None) -> None:
        repository = self.repository(kind, name)
        commit, files = self.at(repository, revision)
        siblings = []
        for path, content in files.items():
            row = described(path, content)
            more = {"size": row["size"], "blobId": row["oid"]} if "blobs" in self.query else {}
            if more and "lfs" in row:
                more["lfs"] = {"sha256": row["lfs"]["oid"], "size": row["size"], "pointerSize": 130}
            siblings.append({"rfilename": path, **more})
        about = {"gated": "manual" if repository.gated else False, "private": repository.private, "tags": []}
        now = "2025-01-01T00:00:00.000Z"
        self.answer_json(
            {"id": name, "sha": commit, "siblings": siblings, "lastModified": now, "createdAt": now, **about}
        )

    def answer_tree(self, kind: str, name: str, revision: str, path: str | None) -> None:
        _, files = self.at(self.repository(kind, name), revision)
        top = f"{path}/" if path else ""
        rows = [described(file, content) for file, content in files.items() if file.startswith(top)]
        if path and not rows:
            raise _Refused(404, "EntryNotFound", f"{path} does not exist")
        folders = sorted({p for file in files for p in parents(file) if p.startswith(top)})
        rows = [{"type": "directory", "path": p, "size": 0, "oid": "0" * 40} for p in folders] + rows
        if self.query.get("recursive") not in (["true"], ["True"], ["1"]):
            rows = [row for row in rows if "/" not in row["path"].removeprefix(top)]
        self.answer_json(rows)

    def answer_paths_info(self, kind: str, name: str, revision: str) -> None:
        _, files = self.at(self.repository(kind, name), revision)
        asked = json.loads(self.body)["paths"] if self.body.startswith(b"{") else parse_qs(self.body.decode())["paths"]
        folders = {p for file in files for p in parents(file)}
        rows = [described(path, files[path]) for path in asked if path in files]
        rows += [{"type": "directory", "path": p, "size": 0, "oid": "0" * 40} for p in asked if p in folders]
        self.answer_json(rows)

    def answer_refs(self, kind: str, name: str) -> None:
        refs = self.repository(kind, name).refs.items()
        rows = [(name, commit) for name, commit in refs if not name.startswith("refs/")]
        converts = [(name, commit) for name, commit in refs if name.startswith("refs/convert/")]
        listed = {
            key: [{"name": n.rpartition("/")[2], "ref": n if n in dict(converts) else f"refs/heads/{n}",
                   "targetCommit": c} for n, c in found]
            for key, found in (("branches", rows), ("converts", converts))
        }  # fmt: skip
        self.answer_json({**listed, "tags": []})

    def answer_whoami(self) -> None:
        if self.token != self.hub.token:
            raise _Refused(401, "", "Invalid credentials in Authorization header")
        self.answer_json({"type": "user", "name": "owner", "orgs": [], "auth": {"type": "access_token"}})

    def answer_resolve(self, kind: str | None, name: str, revision: str, path: str) -> None:
        repository = self.repository(kind, name)
        commit, files = self.at(repository, revision)
        if repository.gated and self.token != self.hub.token:
            raise _Refused(401 if self.token is None else 403, "GatedRepo", f"Access to {name} is restricted")
        head = {"X-Repo-Commit": commit}
        if path not in files:
            self.refuse(404, "EntryNotFound", f"{path} does not exist", head)
        elif is_large(path):
            digest = sha256(files[path])
            size = str(len(data(files[path])))
            to = f"{self.hub.cdn}/blobs/{digest}?signature=for-one-hour"
            linked = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": size, "Location": to}
            self.answer(302, b"", {**head, **linked})
        else:
            self.answer_content(data(files[path]), {**head, "ETag": f'"{git_hash(files[path])}"'})

    def answer_blob(self, digest: str) -> None:
        self.answer_content(data(self.hub.blobs[digest]), {"ETag": f'"{digest}"'})

    def answer_content(self, content: bytes, head: Mapping[str, str]) -> None:
        if self.fault == "wrong hash" and content:
            content = bytes([content[0] ^ 1]) + content[1:]
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        first = int(wanted[1]) if wanted else 0
        if wanted:
            head = {**head, "Content-Range": f"bytes {first}-{len(content) - 1}/{len(content)}"}
        part = content[first:]
        if self.fault == "cut" and self.command == "GET":
            self.answer(206 if wanted else 200, part[: len(part) // 2], head, length=len(part))
            self.close_connection = True
            return
        if self.fault == "slow stream" and self.command == "GET":
            self.answer(206 if wanted else 200, part[: len(part) // 2], head, length=len(part))
            self.wfile.flush()
            time.sleep(self.hub.stall)
            part = part[len(part) // 2 :]
            self.wfile.write(part)
            return
        self.answer(206 if wanted else 200, part, head)

    # --- Pushing

    def answer_create(self) -> None:
        if self.token != self.hub.token:
            raise _Refused(401, "", "Invalid credentials in Authorization header")
        wanted = json.loads(self.body)
        name, kind = f"{wanted.get('organization') or 'owner'}/{wanted['name']}", wanted.get("type") or "model"
        about = {"url": f"{self.hub.url}/{'datasets/' if kind == 'dataset' else ''}{name}", "name": name}
        if (kind, name) in self.hub.repositories:
            self.answer_json({**about, "error": "You already created this model repo"}, 409)
            return
        self.hub.add(kind, name, {".gitattributes": ""}, private=wanted.get("visibility") == "private")
        self.answer_json(about)

    def answer_validate(self) -> None:
        self.answer_json({"errors": [], "warnings": []})

    def answer_preupload(self, kind: str, name: str, revision: str) -> None:
        self.repository(kind, name, write=True)
        files = [row["path"] for row in json.loads(self.body)["files"]]
        modes = [{"path": p, "uploadMode": "lfs" if is_large(p) else "regular", "shouldIgnore": False} for p in files]
        self.answer_json({"files": modes})

    def answer_batch(self, kind: str | None, name: str) -> None:
        self.repository(kind, name, write=True)
        rows = []
        for row in json.loads(self.body)["objects"]:
            href = f"{self.hub.cdn}/blobs/{row['oid']}?signature=for-one-hour"
            known = row["oid"] in self.hub.blobs
            rows.append(row if known else {**row, "actions": {"upload": {"href": href, "header": {}}}})
        self.answer_json({"transfer": "basic", "objects": rows})

    def answer_upload(self, digest: str) -> None:
        if sha256(self.body) != digest:
            raise _Refused(400, "", "the content has another SHA-256")
        self.hub.blobs[digest] = self.body
        self.answer(200, b"", {"ETag": f'"{digest}"'})

    def answer_commit(self, kind: str, name: str, revision: str) -> None:
        repository = self.repository(kind, name, write=True)
        _, files = self.at(repository, revision)
        after = dict(files)
        for line in self.body.splitlines():
            row = json.loads(line)
            value = row["value"]
            match row["key"]:
                case "file":
                    after[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    after[value["path"]] = self.hub.blobs[value["oid"]]
                case "deletedFile":
                    after.pop(value["path"])
        with self.hub.lock:
            commit = repository.commit(after, revision)
        url = f"{self.hub.url}/{'datasets/' if kind == 'dataset' else ''}{name}/commit/{commit}"
        self.answer_json({"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})

    # --- Answering, and failing to

    def failed(self, fault: str) -> bool:
        """Whether the request has met its fault; the others are met on the way."""
        match fault:
            case "401":
                self.refuse(401, "", "Invalid username or password.")
            case "403 gated":
                self.refuse(403, "GatedRepo", "Your request to access this repository has been rejected")
            case "404":
                self.refuse(404, "EntryNotFound", "Entry not found")
            case "429 for a second" | "429 for an hour":
                wait = "1" if fault.endswith("second") else "3600"
                self.refuse(429, "", "We had to rate limit your IP", {"Retry-After": wait})
            case "500" | "503":
                self.refuse(int(fault), "", "Internal Error - We're working hard to fix this as soon as possible!")
            case "HTML":
                self.answer(200, b"<html>sign in to the network of this hotel</html>", {"Content-Type": "text/html"})
            case "the token in an error":
                self.refuse(403, "", f"the token {self.token} may not do this ({dict(self.headers)})")
            case "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
            case "no reply":
                time.sleep(self.hub.stall)
                self.close_connection = True
            case _:
                time.sleep(0.2 if fault == "slow" else 0.0)
                return False
        return True

    def refuse(self, status: int, code: str, said: str, head: Mapping[str, str] | None = None) -> None:
        named = {"X-Error-Code": code} if code else {}
        body = json.dumps({"error": said}).encode()
        self.answer(
            status, body, {**(head or {}), **named, "X-Error-Message": said.encode("ascii", "replace").decode()}
        )

    def answer_json(self, value: Any, status: int = 200) -> None:
        self.answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def answer(self, status: int, body: bytes, head: Mapping[str, str], length: int | None = None) -> None:
        self.send_response(status)
        for name, value in {**head, "Content-Length": str(len(body) if length is None else length)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def parents(path: str) -> list[str]:
    """The folders that a path lies in."""
    parts = path.split("/")
    return ["/".join(parts[:n]) for n in range(1, len(parts))]

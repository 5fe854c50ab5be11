"""A stand-in for a vLLM server: its routes, its rules, and its ways to fail, around a real tiny policy that samples.

It is strict where vLLM is: no update without a start, none twice, no weights before the handshake, and nothing from an
adapter that it does not know.
"""

from __future__ import annotations

import base64
import json
import pickle
import queue
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import torch

from overopt.engine.sampler import sample
from overopt.models.export import checkpoint_tensors
from overopt.models.load import load_policy
from overopt.models.policy import Policy

Fault = Callable[[str, int], str | None]
FAULTS = ("500", "503", "refused", "reset", "closed", "half an answer", "half of JSON", "HTML", "stall")
"""What a route may do in place of its work."""
GARBLED = ("no choices", "too few log-probabilities", "aborted", "no token ids")
"""What may be wrong with a completion that is otherwise whole."""


def by_seed(seed: int, count: int) -> np.ndarray:
    """Random numbers of a request's seed, as any server might draw them."""
    return np.random.default_rng(seed).random(count)


class VLLMServer:
    """Serves until its `with` block ends.

    `fault(path, time)` names what goes wrong at a route's n-th request, or None.
    """

    def __init__(
        self,
        folder: Path,
        fault: Fault = lambda path, time: None,
        *,
        max_model_len: int = 2048,
        processed: bool = True,
        key: str = "",
        version: str = "0.32.0",
        draws: Callable[[int, int], np.ndarray] = by_seed,
        noise: float = 0.0,
        wire: Mapping[str, queue.Queue[torch.Tensor]] | None = None,
        memory: Mapping[Any, torch.Tensor] | None = None,
        development: bool = True,
        port: int = 0,
    ) -> None:
        self.folder, self.fault, self.max_model_len, self.processed = folder, fault, max_model_len, processed
        self.key, self.version, self.draws, self.noise, self.development = key, version, draws, noise, development
        self.wire, self.memory = {} if wire is None else wire, {} if memory is None else memory
        self.asked: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        """The completions asked for."""
        self.adapters: dict[str, Policy] = {}
        self.lock = threading.RLock()
        self.restart()
        self.http = _Server(("127.0.0.1", port), _Handler)
        self.http.stub = self
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def __enter__(self) -> VLLMServer:
        threading.Thread(target=lambda: self.http.serve_forever(poll_interval=0.01), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.http.shutdown()
        self.http.server_close()

    def restart(self) -> None:
        """Forget everything that a process forgets: weights, versions, adapters, groups."""
        with self.lock:
            self.policy = load_policy(self.folder, torch.device("cpu"))
            self.weight_version, self.paused, self.updating, self.group = "default", False, False, None
            self.adapters.clear()

    # ---- routes

    def answer(self, method: str, path: str, query: Mapping[str, list[str]], body: Any) -> tuple[int, Any]:
        """Return the status and the body of an answer."""
        routes: dict[str, Callable[[], Any]] = {
            "GET /v1/models": self._models,
            "GET /version": lambda: {"version": self.version},
            "POST /v1/completions": lambda: self._complete(body),
            "POST /v1/load_lora_adapter": lambda: self._load_adapter(body),
            "POST /v1/unload_lora_adapter": lambda: self._unload_adapter(body),
        }
        if self.development:
            routes |= {
                "GET /weight_info": lambda: {"weight_version": self.weight_version},
                "GET /get_world_size": lambda: {"world_size": 1},
                "POST /pause": lambda: self._pause(query),
                "POST /resume": self._resume,
                "POST /init_weight_transfer_engine": lambda: self._init(body["init_info"]),
                "POST /start_weight_update": self._start,
                "POST /update_weights": lambda: self._update(body["update_info"]),
                "POST /finish_weight_update": lambda: self._finish((body or {}).get("weight_version")),
                "POST /collective_rpc": lambda: self._collective(body),
                "POST /update_weight_version": lambda: self._name(body["new_version"]),
            }
        route = routes.get(f"{method} {path}")
        if route is None:
            return 404, {"detail": "Not Found"}
        try:
            return 200, route()
        except Refusal as refusal:
            return refusal.status, {"error": {"message": str(refusal), "type": "Error", "code": refusal.status}}

    def _models(self) -> Any:
        served = {"id": str(self.folder), "object": "model", "max_model_len": self.max_model_len}
        return {"object": "list", "data": [served, *({"id": name} for name in self.adapters)]}

    def _pause(self, query: Mapping[str, list[str]]) -> Any:
        assert query.get("mode") == ["wait"], "an abort would break off completions"
        self.paused = True
        return {"status": "paused"}

    def _resume(self) -> Any:
        self.paused = False
        return {"status": "resumed"}

    def _init(self, info: Any) -> Any:
        self.group = info
        return {"message": "Weight transfer initialized"}

    def _start(self) -> Any:
        if self.group is None:
            raise Refusal(500, "Weight transfer not initialized")
        if self.updating:
            raise Refusal(500, "A weight update is active already")
        if not self.paused:
            raise Refusal(500, "weights would change under running requests")
        self.updating = True
        return {"message": "Weight update started"}

    def _update(self, info: Any) -> Any:
        if not self.updating:
            raise Refusal(500, "No weight update is active")
        shapes = {name: list(tensor.shape) for name, tensor in checkpoint_tensors(self.policy.model).items()}
        if shapes != dict(zip(info["names"], info["shapes"], strict=True)):
            raise Refusal(500, "the names or shapes are not those of the served model")
        if "ipc_handles_pickled" in info:
            found = [next(iter(h.values())) for h in pickle.loads(base64.b64decode(info["ipc_handles_pickled"]))]
            tensors = [self.memory[handle] for handle in found]
        else:
            wire = self.wire[self.group["nccl_unique_id_b64"]]
            tensors = [wire.get(timeout=5) for _ in info["names"]]
        for name, dtype, tensor in zip(info["names"], info["dtype_names"], tensors, strict=True):
            assert str(tensor.dtype) == f"torch.{dtype}", name
        self.put(dict(zip(info["names"], tensors, strict=True)))
        return {"message": "Weights updated"}

    def _finish(self, version: str | None) -> Any:
        if not self.updating:
            raise Refusal(500, "No weight update is active")
        self.updating = False
        return self._name(version) if version is not None else {"message": "Weight update finished"}

    def _collective(self, body: Any) -> Any:
        assert body == {"method": "reload_weights"}
        with self.lock:
            self.policy = load_policy(self.folder, torch.device("cpu"))
        return {"results": [None]}

    def _name(self, version: str) -> Any:
        self.weight_version = version
        return {"success": True, "new_version": version}

    def put(self, tensors: Mapping[str, torch.Tensor]) -> None:
        with self.lock, torch.no_grad():
            for name, mine in checkpoint_tensors(self.policy.model).items():
                mine.copy_(tensors[name])

    def _load_adapter(self, body: Any) -> Any:
        if body["lora_name"] in self.adapters:
            raise Refusal(400, f"The lora adapter '{body['lora_name']}' has already been loaded.")
        self.adapters[body["lora_name"]] = self.adapted(Path(body["lora_path"]))
        return "Success: LoRA adapter added successfully."

    def _unload_adapter(self, body: Any) -> Any:
        if self.adapters.pop(body["lora_name"], None) is None:
            raise Refusal(404, f"The lora adapter '{body['lora_name']}' cannot be found.")
        return "Success: LoRA adapter removed successfully."

    def adapted(self, folder: Path) -> Policy:
        """The served model with an adapter in PEFT's format, by PEFT's own loader."""
        from peft import PeftModel

        policy = load_policy(self.folder, torch.device("cpu"))
        merged = PeftModel.from_pretrained(policy.model, folder).merge_and_unload()
        return Policy(merged, policy.tokenizer)

    def _complete(self, body: Any) -> Any:
        while self.paused:
            time.sleep(0.005)
        assert body["n"] == 1 and body["logprobs"] == 0 and body["return_token_ids"]
        assert (body["top_p"], body["top_k"], body["min_p"], body["repetition_penalty"]) == (1.0, 0, 0.0, 1.0)
        if "model" in body and body["model"] not in self.adapters:
            raise Refusal(404, f"The model `{body['model']}` does not exist.")
        with self.lock:
            self.bodies.append(body)
            policy = self.adapters[body["model"]] if "model" in body else self.policy
            choice = self._draw(policy, body)
        match self.fault("a completion", self.asked["/v1/completions"]):
            case "no choices":
                return {"object": "text_completion", "choices": []}
            case "too few log-probabilities":
                choice["logprobs"]["token_logprobs"].pop()
            case "aborted":
                choice["finish_reason"] = "abort"
            case "no token ids":
                del choice["token_ids"]
        return {"object": "text_completion", "choices": [choice]}

    def _draw(self, policy: Policy, body: Any) -> dict[str, Any]:
        prompt, seed = body["prompt"], body["seed"]
        policy.end_ids = frozenset(body["stop_token_ids"])
        at = body["temperature"]
        drawn = sample(
            policy, [prompt], [""], 1, at, body["max_tokens"], _Seeded(lambda count: self.draws(seed, count))
        )
        (tokens,), logps = drawn.completions(), drawn.logp_BT[0].tolist()
        if not self.processed:
            logps = _raw(policy, prompt, tokens)
        if self.noise:
            logps = [x + self.noise * z for x, z in zip(logps, by_seed(seed, len(logps)) - 0.5, strict=True)]
        reason = "stop" if bool(drawn.ended_B[0]) else "length"
        return {
            "index": 0,
            "text": "",
            "token_ids": tokens,
            "prompt_token_ids": prompt,
            "logprobs": {"token_logprobs": logps, "tokens": [f"token_id:{token}" for token in tokens]},
            "finish_reason": reason,
        }


class Refusal(Exception):
    """An answer with a status of failure."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


class _Seeded:
    """The random numbers of one request, in the form that the engine's sampler takes."""

    def __init__(self, draw: Callable[[int], np.ndarray]) -> None:
        self.draw = draw

    def uniforms(self, prompt_id: str, sample: int, count: int) -> np.ndarray:
        return self.draw(count)


def _raw(policy: Policy, prompt: list[int], tokens: list[int]) -> list[float]:
    """Log-probabilities at temperature 1, which vLLM reports unless told otherwise."""
    ids = torch.tensor([prompt + tokens])
    with torch.no_grad():
        logp = policy.model(ids).logits[0].float().log_softmax(-1)
    return [float(logp[len(prompt) - 1 + t, token]) for t, token in enumerate(tokens)]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    stub: VLLMServer


class _Handler(BaseHTTPRequestHandler):
    """Answers one request, or fails as it is told."""

    server: _Server

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _serve(self, method: str) -> None:
        stub, parts = self.server.stub, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with stub.lock:
            stub.asked[parts.path] += 1
            time_asked = stub.asked[parts.path]
        fault = stub.fault(parts.path, time_asked)
        if fault in FAULTS:
            return self._fail(str(fault), stub, parts, method, body)
        if fault == "restart":
            stub.restart()
        if stub.key and parts.path.startswith("/v1") and self.headers.get("Authorization") != f"Bearer {stub.key}":
            return self._send(401, b'{"error": "Unauthorized"}')
        status, answer = stub.answer(method, parts.path, parse_qs(parts.query), json.loads(body) if body else None)
        self._send(status, answer.encode() if isinstance(answer, str) else json.dumps(answer).encode())
        return None

    def _fail(self, fault: str, stub: VLLMServer, parts: Any, method: str, body: bytes) -> None:
        if fault in ("500", "503"):
            return self._send(int(fault), b'{"error": {"message": "EngineCore encountered an issue"}}')
        if fault == "stall":
            time.sleep(1.5)
        if fault == "HTML":
            return self._send(200, b"<html><body>a proxy was here</body></html>")
        if fault in ("half an answer", "half of JSON"):  # the work is done, but the answer is lost
            _, answer = stub.answer(method, parts.path, parse_qs(parts.query), json.loads(body) if body else None)
            text = json.dumps(answer).encode()
            half = text[: len(text) // 2]
            return self._send(200, half, claimed=len(text) if fault == "half an answer" else len(half))
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        return None

    def _send(self, status: int, body: bytes, claimed: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body) if claimed is None else claimed))
        self.end_headers()
        with suppress(OSError):  # whoever asked has given up
            self.wfile.write(body)

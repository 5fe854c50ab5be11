"""How the server gets new weights between updates: `nccl`, `ipc`, `folder` or `lora`.

The first two speak vLLM's weight transfer: init once, then for each update pause, start, update, finish, resume. The
pause waits for what is under way and clears the server's caches. All need a server in development mode, but `lora`.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol

from torch import Tensor

from overopt.config import Choice, Folder, block
from overopt.errors import UserError
from overopt.models.adapter import Adapter
from overopt.models.export import checkpoint_tensors
from overopt.models.policy import Policy
from overopt.vllm import ipc, nccl
from overopt.vllm.server import Server, ServerError

POLL = 0.005
"""Seconds between two looks at whether a broadcast has ended."""


class Channel(Protocol):
    """The way of a policy's weights to one server."""

    def model(self, version: str) -> str | None:
        """The name under which weights of this version are sampled from; None: the model that is served."""

    def push(self, version: str) -> None:
        """Give the server the policy's present weights; ServerError if that failed, and may be tried again."""

    def holds(self, version: str) -> bool:
        """Ask the server whether it has the weights of this version."""


class TransferProtocol(Protocol):
    """What a way of transfer has."""

    needs: ClassVar[str] = "weights are pushed to vLLM 0.30 or later, started with VLLM_SERVER_DEV_MODE=1"
    """What to tell the user of a server that does not know the routes."""

    @abstractmethod
    def open(self, server: Server, policy: Policy) -> Channel:
        """Get ready for this policy; UserError if it cannot go this way."""


class WholeModel:
    """A channel that replaces the weights of the served model, whose version the server remembers."""

    def __init__(self, server: Server, policy: Policy) -> None:
        self.server, self.policy = server, policy

    def model(self, version: str) -> str | None:
        return None

    def push(self, version: str) -> None:
        self.server.post("/pause?mode=wait")
        self.replace(version)
        self.server.post("/resume")

    @abstractmethod
    def replace(self, version: str) -> None:
        """Replace the weights of the paused server, and name their version."""

    def holds(self, version: str) -> bool:
        return bool(self.server.once("GET", "/weight_info").get("weight_version") == version)


class Streamed(WholeModel):
    """vLLM's weight transfer, with init, start, update and finish."""

    def __init__(self, server: Server, policy: Policy) -> None:
        super().__init__(server, policy)
        self.ready = False

    def push(self, version: str) -> None:
        try:
            if not self.ready:
                self.recover()
                self.init()
                self.ready = True
            super().push(version)
        except BaseException:
            self.ready = False  # whatever the server was in the middle of, the next try starts anew
            self.abort()
            raise

    def replace(self, version: str) -> None:
        tensors = checkpoint_tensors(self.policy.model)
        self.server.post("/start_weight_update")
        self.update(tensors)
        self.server.post("/finish_weight_update", {"weight_version": version})

    def recover(self) -> None:
        """Close what a try before this one has left open; a server that is not in an update refuses, which is fine."""
        for path in ("/finish_weight_update", "/resume"):  # without a version: these weights are nobody's
            with suppress(ServerError):
                self.server.post(path, {})

    @abstractmethod
    def init(self) -> None:
        """Set up the connection."""

    @abstractmethod
    def update(self, tensors: Mapping[str, Tensor]) -> None:
        """Send the tensors."""

    def abort(self) -> None:
        """Give up a transfer that is under way."""


def described(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return names, types and shapes as the server wants to know them ahead."""
    return {
        "names": list(tensors),
        "dtype_names": [str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()],
        "shapes": [list(tensor.shape) for tensor in tensors.values()],
    }


class _Posted:
    """A request that is answered only once this process has done its part, sent by a thread."""

    def __init__(self, server: Server, path: str, body: Any) -> None:
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._send, args=(server, path, body), daemon=True)
        self.thread.start()

    def _send(self, server: Server, path: str, body: Any) -> None:
        try:
            server.post(path, body)
        except BaseException as error:
            self.error = error

    def check(self) -> None:
        """Raise what went wrong so far."""
        if self.error is not None:
            raise self.error

    def wait(self) -> None:
        self.thread.join()
        self.check()


class _NCCLChannel(Streamed):
    """Broadcasts from this process's GPU to those of the server."""

    group: nccl.Group | None = None

    def init(self) -> None:
        workers = int(self.server.once("GET", "/get_world_size")["world_size"])
        group = nccl.Group(self.policy.device, 1 + workers)
        info = {"nccl_unique_id_b64": group.unique_id, "rank_offset": 1, "world_size": 1 + workers, "packed": False}
        posted = _Posted(self.server, "/init_weight_transfer_engine", {"init_info": info})
        # in a thread, too: joining returns once all have come, and one that the server refused never comes
        joined = threading.Thread(target=group.join, daemon=True)
        joined.start()
        while joined.is_alive():
            posted.check()
            joined.join(POLL)
        posted.wait()
        group.check()
        self.group = group

    def update(self, tensors: Mapping[str, Tensor]) -> None:
        assert self.group is not None
        posted = _Posted(self.server, "/update_weights", {"update_info": described(tensors)})
        for tensor in tensors.values():
            self.group.broadcast(tensor)
        while not self.group.idle():
            posted.check()
            time.sleep(POLL)
        posted.wait()

    def abort(self) -> None:
        if self.group is not None:
            self.group.abort()
        self.group = None


class _IPCChannel(Streamed):
    """Hands over where the tensors lie in the memory of the GPU that both processes use."""

    def init(self) -> None:
        self.server.post("/init_weight_transfer_engine", {"init_info": {"packed": False}})

    def update(self, tensors: Mapping[str, Tensor]) -> None:
        kept = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}  # alive until all are read
        info = described(kept) | {"ipc_handles_pickled": ipc.handles(list(kept.values()))}
        self.server.post("/update_weights", {"update_info": info})


class _FolderChannel(WholeModel):
    """Writes the weights where the server was started, and lets it load them again."""

    def __init__(self, server: Server, policy: Policy, folder: Path) -> None:
        super().__init__(server, policy)
        self.folder = folder

    def push(self, version: str) -> None:
        with suppress(ServerError):  # of a try before this one
            self.server.post("/resume", {})
        super().push(version)

    def replace(self, version: str) -> None:
        self._write()
        self.server.post("/collective_rpc", {"method": "reload_weights"})
        self.server.post("/update_weight_version", {"new_version": version})

    def _write(self) -> None:
        """Write beside the folder and move file by file, so that no half of a file is ever read."""
        staged = self.folder.with_name(f".{self.folder.name}.overopt")
        try:
            shutil.rmtree(staged, ignore_errors=True)
            self.policy.save(staged)
            self.folder.mkdir(parents=True, exist_ok=True)
            for file in staged.iterdir():
                file.replace(self.folder / file.name)
            staged.rmdir()
        except OSError as error:
            raise UserError(f"sampler.transfer.folder: {self.folder}: cannot be written ({error})") from error


class _LoRAChannel:
    """Adapters, each under the name of its version, so that what is cached of one is never used for another."""

    def __init__(self, server: Server, adapter: Adapter, folder: Path | None) -> None:
        self.server, self.adapter, self.folder = server, adapter, folder
        self.registered: str | None = None

    def model(self, version: str) -> str | None:
        return version

    def push(self, version: str) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            folder = (self.folder or Path(temporary)) / version
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self.adapter.save(folder)
            except OSError as error:
                raise UserError(f"sampler.transfer.path: {folder}: cannot be written ({error})") from error
            self._register(version, folder)
            shutil.rmtree(folder, ignore_errors=True)  # the server has read it

    def _register(self, version: str, folder: Path) -> None:
        if self.registered is not None:
            with suppress(ServerError):  # of a server that was started again, or of a try before this one
                self.server.post("/v1/unload_lora_adapter", {"lora_name": self.registered})
        self.registered = version
        try:
            self.server.post("/v1/load_lora_adapter", {"lora_name": version, "lora_path": str(folder)})
        except ServerError as error:
            if "already been loaded" not in str(error):  # by a try whose answer was lost
                raise

    def holds(self, version: str) -> bool:
        return any(model["id"] == version for model in self.server.once("GET", "/v1/models")["data"])


@block
class NCCL(TransferProtocol):
    """The trainer's GPU broadcasts to the server's, which are others.

    The server is started with `--weight-transfer-config '{"backend": "nccl"}'`.
    """

    config_name = "nccl"

    def open(self, server: Server, policy: Policy) -> Channel:
        _without_adapter(policy, "nccl")
        _on_a_gpu(policy, "nccl")
        nccl.check()
        return _NCCLChannel(server, policy)


@block
class IPC(TransferProtocol):
    """Trainer and server share one GPU, and the server reads the trainer's memory.

    It is started with `--weight-transfer-config '{"backend": "ipc"}'` and VLLM_ALLOW_INSECURE_SERIALIZATION=1.
    """

    config_name = "ipc"

    def open(self, server: Server, policy: Policy) -> Channel:
        _without_adapter(policy, "ipc")
        _on_a_gpu(policy, "ipc")
        return _IPCChannel(server, policy)


@block
class ByFolder(TransferProtocol):
    """The weights are written to the folder that the server was started on, and loaded from there.

    Needs nothing but a folder that both see; the slowest way, and the only one without a GPU.
    """

    config_name = "folder"

    path: Folder
    """The FOLDER of `vllm serve FOLDER`: a copy of the model's, since its weights are overwritten."""

    def open(self, server: Server, policy: Policy) -> Channel:
        _without_adapter(policy, "folder")
        folder = Path(self.path)
        if folder.resolve() == Path(policy.model.config.name_or_path or ".").resolve():
            raise UserError(
                f"sampler.transfer.path: {folder} is what the policy starts from, and would be overwritten: copy it, "
                "and start the server on the copy"
            )
        return _FolderChannel(server, policy, folder)


@block
class LoRA(TransferProtocol):
    """The adapter of `trainable: lora` is written to a folder and registered under a new name for each version.

    The server serves the frozen weights, and is started with `--enable-lora --max-lora-rank RANK` and
    VLLM_ALLOW_RUNTIME_LORA_UPDATING=1; development mode is not needed.
    """

    config_name = "lora"
    needs: ClassVar[str] = "adapters take vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"

    path: Folder | None = None
    """Where adapters are written for the server to read; null: a temporary folder of this machine."""

    def open(self, server: Server, policy: Policy) -> Channel:
        if policy.adapter is None:
            raise UserError(
                "sampler.transfer: lora pushes an adapter, which `trainable: lora` makes; here all is trained"
            )
        return _LoRAChannel(server, policy.adapter, None if self.path is None else Path(self.path))


Transfer = Annotated[NCCL | IPC | ByFolder | LoRA, Choice(TransferProtocol)]


def _without_adapter(policy: Policy, name: str) -> None:
    if policy.adapter is not None:
        raise UserError(f"sampler.transfer: {name} pushes whole models, but an adapter is trained; use transfer: lora")


def _on_a_gpu(policy: Policy, name: str) -> None:
    if policy.device.type != "cuda":
        raise UserError(
            f"sampler.transfer: {name} moves weights between GPUs, but the policy is on {policy.device.type}; "
            "use {name: folder, path: FOLDER}, the folder that the server was started on"
        )

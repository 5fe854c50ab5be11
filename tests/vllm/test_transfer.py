"""Weights on their way to the server. NCCL and CUDA IPC are stood in for by queues and names in this process."""

from __future__ import annotations

import queue
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from vllm_server import VLLMServer

from overopt.errors import UserError
from overopt.models.export import checkpoint_tensors
from overopt.models.load import load_policy
from overopt.models.policy import Policy
from overopt.models.trainable import LoRA as Trained
from overopt.vllm import ipc, nccl, transfer
from overopt.vllm.server import Server, ServerError
from overopt.vllm.transfer import IPC, NCCL, ByFolder, Channel, LoRA, described

CPU = torch.device("cpu")
WIRE: dict[str, queue.Queue[torch.Tensor]] = {}
MEMORY: dict[Any, torch.Tensor] = {}


class QueueGroup:
    """`nccl.Group` by a queue: a broadcast is done once the other side has taken it."""

    made = 0

    def __init__(self, device: torch.device, size: int) -> None:
        assert size == 2  # the trainer and one worker
        QueueGroup.made += 1
        self.unique_id = f"group {QueueGroup.made}"
        self.queue: queue.Queue[torch.Tensor] = queue.Queue()
        WIRE[self.unique_id] = self.queue
        self.aborted = False

    def join(self) -> None:
        pass

    def check(self) -> None:
        pass

    def broadcast(self, tensor: torch.Tensor) -> None:
        self.queue.put(tensor.clone())

    def idle(self) -> bool:
        return self.queue.empty()

    def abort(self) -> None:
        self.aborted = True


@pytest.fixture(autouse=True)
def _without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    WIRE.clear()
    MEMORY.clear()

    def handle(tensor: torch.Tensor) -> Any:
        MEMORY[len(MEMORY)] = tensor
        return len(MEMORY) - 1

    monkeypatch.setattr(nccl, "Group", QueueGroup)
    monkeypatch.setattr(nccl, "check", lambda: None)
    monkeypatch.setattr(ipc, "handle", handle)
    monkeypatch.setattr(ipc, "gpu_id", lambda tensor: "GPU-0")
    monkeypatch.setattr(transfer, "_on_a_gpu", lambda policy, name: None)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_models.tiny_policy("gpt_neox").save(folder)
    return folder


def trained() -> Policy:
    """Weights that the server does not have."""
    return tiny_models.tiny_policy("gpt_neox", seed=1)


def channel_of(name: str, stub: VLLMServer, policy: Policy) -> Channel:
    way = {"nccl": NCCL(), "ipc": IPC(), "folder": ByFolder(path=str(stub.folder))}[name]
    return way.open(Server(stub.url, 30.0, 30.0, lambda text: None), policy)


def holds(stub: VLLMServer, policy: Policy) -> bool:
    served, wanted = checkpoint_tensors(stub.policy.model), checkpoint_tensors(policy.model)
    return served.keys() == wanted.keys() and all(torch.equal(served[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("name", ["nccl", "ipc", "folder"])
def test_the_server_has_the_policy_s_weights_bit_for_bit(name: str, saved: Path, tmp_path: Path) -> None:
    policy, folder = trained(), Path(shutil.copytree(saved, tmp_path / "served"))
    with VLLMServer(folder, wire=WIRE, memory=MEMORY) as stub:
        channel = channel_of(name, stub, policy)
        assert not holds(stub, policy) and not channel.holds("v1")
        channel.push("v1")
        assert holds(stub, policy) and channel.holds("v1") and not channel.holds("v0") and not stub.paused
        with torch.no_grad():
            policy.head.weight.add_(1.0)
        channel.push("v2")
        assert holds(stub, policy) and channel.holds("v2") and channel.model("v2") is None
        assert stub.asked["/init_weight_transfer_engine"] == (name != "folder")  # once for both


@pytest.mark.parametrize("name", ["nccl", "ipc"])
@pytest.mark.parametrize(
    "path",
    ["/init_weight_transfer_engine", "/pause", "/start_weight_update", "/update_weights", "/finish_weight_update"],
)
@pytest.mark.parametrize("fault", ["503", "half an answer"])
def test_wherever_a_push_breaks_off_the_next_one_starts_anew(name: str, path: str, fault: str, saved: Path) -> None:
    policy, pushed = trained(), []

    def once(asked: str, time: int) -> str | None:
        return fault if asked == path and pushed and time == pushed[0] else None

    with VLLMServer(saved, once, wire=WIRE, memory=MEMORY) as stub:
        channel = channel_of(name, stub, policy)
        pushed.append(stub.asked[path] + 1 + (path == "/finish_weight_update"))  # which is first sent to close, in vain
        with pytest.raises(ServerError):
            channel.push("v1")
        groups = QueueGroup.made
        channel.push("v1")
        assert holds(stub, policy) and channel.holds("v1") and not stub.paused and not stub.updating
        assert name == "ipc" or QueueGroup.made == groups + 1


def test_a_push_after_a_restart_meets_the_server_anew(saved: Path) -> None:
    policy = trained()
    with VLLMServer(saved, wire=WIRE) as stub:
        channel = channel_of("nccl", stub, policy)
        channel.push("v1")
        stub.restart()
        assert not channel.holds("v1")
        with pytest.raises(ServerError, match="not initialized"):
            channel.push("v2")
        channel.push("v2")
        assert holds(stub, policy) and channel.holds("v2")


def test_a_served_model_of_other_shapes_is_named_and_the_broadcast_given_up(saved: Path) -> None:
    other = tiny_models.tiny_policy("llama")
    with VLLMServer(saved, wire=WIRE) as stub:
        channel = channel_of("nccl", stub, other)
        with pytest.raises(ServerError, match="not those of the served model"):
            channel.push("v1")
        assert channel.group is None and stub.weight_version == "default"  # type: ignore[attr-defined]


def test_names_types_and_shapes_go_ahead() -> None:
    tensors = {"a": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.bfloat16)}
    assert described(tensors) == {"names": ["a", "b"], "dtype_names": ["float32", "bfloat16"], "shapes": [[2, 3], [4]]}


def test_a_member_that_never_comes_does_not_hang_the_run(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server refuses the handshake while this process already waits for it."""
    for_ever = threading.Event()
    monkeypatch.setattr(QueueGroup, "join", lambda self: for_ever.wait(30))
    with VLLMServer(saved, lambda path, time: "503" if path.startswith("/init") else None, wire=WIRE) as stub:
        with pytest.raises(ServerError, match="HTTP 503 from /init_weight_transfer_engine"):
            channel_of("nccl", stub, trained()).push("v1")
        for_ever.set()


def test_a_folder_that_cannot_be_written_is_an_error_of_the_user(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with VLLMServer(saved) as stub:
        server = Server(stub.url, 30.0, 30.0, lambda text: None)
        with pytest.raises(UserError, match="cannot be written"):
            ByFolder(path=str(tmp_path / "file" / "served")).open(server, trained()).push("v1")


def test_on_a_cpu_weights_go_by_a_folder(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    server = Server("http://localhost:1", 1.0, 1.0, lambda text: None)
    for way in (NCCL(), IPC()):
        with pytest.raises(UserError, match="the policy is on cpu; use {name: folder, path: FOLDER}"):
            way.open(server, load_policy(saved, CPU))


def adapted() -> Policy:
    """A policy whose adapter changes what it computes."""
    pytest.importorskip("peft")
    policy = tiny_models.tiny_policy("llama")
    Trained(rank=2, alpha=4).prepare(policy, 0)
    for name, parameter in policy.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(1))
    return policy


def test_adapters_are_registered_one_name_a_version(tmp_path: Path) -> None:
    policy = adapted()
    tiny_models.tiny_policy("llama").save(tmp_path / "served")
    lost = {"path": "", "time": 0}
    with VLLMServer(
        tmp_path / "served",
        lambda path, time: "half an answer" if (path, time) == (lost["path"], lost["time"]) else None,
        development=False,
    ) as stub:
        channel = LoRA(path=str(tmp_path / "adapters")).open(Server(stub.url, 30.0, 30.0, lambda text: None), policy)
        channel.push("v1")
        assert channel.holds("v1") and channel.model("v1") == "v1" and list(stub.adapters) == ["v1"]
        channel.push("v2")
        assert list(stub.adapters) == ["v2"] and not channel.holds("v1")
        ids = torch.tensor([[4, 5, 6, 7]])
        with torch.no_grad():
            served, here = (one.model(ids).logits for one in (stub.adapters["v2"], policy))
            with policy.adapter.disabled():  # type: ignore[union-attr]
                before = policy.model(ids).logits
        torch.testing.assert_close(served, here, rtol=0, atol=1e-4)
        assert float((here - before).abs().max()) > 0.1
        lost |= {"path": "/v1/load_lora_adapter", "time": stub.asked["/v1/load_lora_adapter"] + 1}
        with pytest.raises(ServerError, match="half an answer"):
            channel.push("v3")
        channel.push("v3")
        stub.restart()
        assert not channel.holds("v3")
        channel.push("v3")
        assert channel.holds("v3") and not list((tmp_path / "adapters").iterdir())


def test_whole_models_and_adapters_are_not_mixed_up(saved: Path) -> None:
    server = Server("http://localhost:1", 1.0, 1.0, lambda text: None)
    with pytest.raises(UserError, match="lora pushes an adapter, which `trainable: lora` makes"):
        LoRA().open(server, trained())
    for way in (NCCL(), IPC(), ByFolder(path=str(saved))):
        with pytest.raises(UserError, match="an adapter is trained; use transfer: lora"):
            way.open(server, adapted())

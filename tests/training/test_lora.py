"""The four stages with LoRA: what is trained, what is kept, and that a run goes on to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tiny
import torch
from safetensors.torch import load_file

from faults import left_behind
from overopt.errors import ConfigError, UserError
from overopt.models.load import load_policy
from overopt.records import load_run
from overopt.training.run.progress import Progress
from overopt.training.train import train

if TYPE_CHECKING:
    from tiny import Chain

pytest.importorskip("peft")
LORA = {"name": "lora", "rank": 2, "alpha": 4}

STAGES_OF = {
    "sft": lambda chain: tiny.sft(
        trainable=LORA | {"dropout": 0.3}, checkpoint_every=2, model={"name": "pretrained", "path": str(chain.policy)}
    ),
    "reward_model": lambda chain: tiny.reward_model(chain, trainable=LORA | {"dropout": 0.3}, checkpoint_every=2),
    "online": lambda chain: tiny.online(chain, trainable=LORA, checkpoint_every=2),
    "offline": lambda chain: tiny.offline(chain, trainable=LORA | {"dropout": 0.3}, checkpoint_every=2),
    "everything": lambda chain: tiny.online(
        chain,
        trainable=LORA,
        checkpoint_every=2,
        optimizer="adamw_8bit",
        compute={"device": "cpu", "threads": 1, "precision": "bf16"}
        | {"gradient_checkpointing": "layers", "offload": "frozen"},
    ),
}


@pytest.mark.parametrize("stage", STAGES_OF)
def test_a_run_that_was_cut_short_goes_on_to_the_same_bits(chain: Chain, tmp_path: Path, stage: str) -> None:
    """Also with dropout, whose draws come from the stream that is kept."""
    if stage == "everything":
        pytest.importorskip("bitsandbytes")
    config, out = STAGES_OF[stage](chain), tmp_path / "run"
    whole = train(config, tmp_path / "whole")

    def stop(now: Progress) -> None:
        if now.step == 3:
            raise MemoryError

    with pytest.raises(MemoryError):
        train(config, out, progress=stop)
    kept = load_file(out / "trainer" / "step-2" / "tensors.safetensors") if stage == "online" else {}
    assert not any(".base_layer." in name for name in kept)  # the frozen weights are not kept again
    run = train(config, out)
    assert [resume["step"] for resume in run.info["resumes"]] == [2]
    assert left_behind(out) == left_behind(whole.path)


def test_kl_begins_at_zero_and_the_reference_stays(chain: Chain, tmp_path: Path) -> None:
    """The reference is the policy that was named, though no copy of it is held."""
    run = train(tiny.online(chain, trainable=LORA, lr=1e-2), tmp_path / "run")
    copied = train(tiny.online(chain, trainable=LORA, lr=1e-2, reference=str(chain.policy)), tmp_path / "copied")
    kl, other = ([row["kl_ref"] for row in tiny.rows(r)] for r in (run, copied))
    assert abs(kl[0]) < 1e-5 and max(kl) > 1e-3
    assert kl == other  # as against a copy in a memory of its own


def test_a_checkpoint_holds_the_adapter_alone(chain: Chain, tmp_path: Path) -> None:
    run = train(tiny.offline(chain, trainable=LORA), tmp_path / "run")
    folder = run.checkpoint()
    assert not (folder / "model.safetensors").exists()
    tensors = load_file(folder / "adapter_model.safetensors")
    assert all(".lora_A." in name or ".lora_B." in name for name in tensors)
    before, after = load_policy(load_run(chain.policy).checkpoint(), torch.device("cpu")), load_policy(
        folder, torch.device("cpu")
    )  # fmt: skip
    changed = {
        name
        for (name, one), (_, other) in zip(before.model.named_parameters(), after.model.named_parameters(), strict=True)
        if not torch.equal(one, other)
    }
    assert changed and all(name.endswith("weight") and ("dense" in name or "query" in name) for name in changed)


def test_a_chain_of_adapters(chain: Chain, tmp_path: Path) -> None:
    """Each stage starts from what the one before it trained; the parents' parents are remembered by hash."""
    first = train(STAGES_OF["sft"](chain), tmp_path / "sft")
    links = tiny.Chain(first.path, tmp_path / "rm")
    train(tiny.reward_model(links, trainable=LORA), links.reward_model)
    run = train(tiny.online(links, trainable=LORA), tmp_path / "online")
    roles = {parent["role"]: parent["path"] for parent in run.info["parents"]}
    base = str(load_run(chain.policy).checkpoint())  # also of an adapter on an adapter: both are kept as one
    assert roles == {
        "policy": str(first.path),
        "policy.base": base,
        "reward_model": str(links.reward_model),
        "reward_model.base": base,
    }


def test_what_lora_cannot_train(chain: Chain, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="trainable: lora adapts a model that exists"):
        train(tiny.sft(trainable="lora"), tmp_path / "run")
    with pytest.raises(ConfigError, match="trainable.dropout: .* takes dropout 0"):
        train(tiny.online(chain, trainable=LORA | {"dropout": 0.1}), tmp_path / "run")
    with pytest.raises(UserError, match="trainable.targets: 'q_proj' matches no linear map"):
        train(tiny.online(chain, trainable=LORA | {"targets": ["q_proj"]}), tmp_path / "run")
    assert not (tmp_path / "run").exists()

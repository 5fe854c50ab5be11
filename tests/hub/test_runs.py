"""Runs whose models come from the Hub: what is recorded, and what they go on with when a branch has moved."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import tiny
from tiny import Chain

from hub import LoopbackHub
from overopt.errors import UserError
from overopt.evaluation.reevaluation import evaluate_run
from overopt.planning.plan import from_folder
from overopt.records import Run, load_run
from overopt.tasks import Miniature
from overopt.training.run.progress import Progress
from overopt.training.train import train

STEPS = 3


@pytest.fixture
def config(loopback_hub: LoopbackHub, chain: Chain) -> tiny.Config:
    """An online run whose policy and reward model are on the Hub."""
    loopback_hub.add("model", "tiny/policy", chain.policy / "checkpoints" / "step-60")
    loopback_hub.add("model", "tiny/rm", load_run(chain.reward_model).checkpoint(), "v1")
    return tiny.online(chain, policy="tiny/policy", reward_model="tiny/rm@v1", checkpoint_every=1)


def other(chain: Chain, tmp_path: Path) -> Path:
    """Other weights."""
    return train(tiny.sft(), tmp_path / "other").checkpoint()


def cut_short(config: tiny.Config, out: Path) -> Run:
    def seen(now: Progress) -> None:
        if now.step == 2:
            raise MemoryError

    with pytest.raises(MemoryError):
        train(config, out, progress=seen)
    return load_run(out)


def test_a_run_records_what_its_names_meant_and_has_the_numbers_of_the_same_folders(
    config: tiny.Config, loopback_hub: LoopbackHub, chain: Chain, tmp_path: Path
) -> None:
    run = train(config, tmp_path / "run")
    commits = {name: loopback_hub.repositories["model", f"tiny/{name}"].refs for name in ("policy", "rm")}
    policy = {"location": "hf://tiny/policy", "revision": "main", "commit": commits["policy"]["main"]}
    rm = {"location": "hf://tiny/rm@v1", "revision": "v1", "commit": commits["rm"]["v1"]}
    assert run.info["hub"] == {"policy": policy, "reward_model": rm}
    parents = {parent["role"]: parent for parent in run.info["parents"]}
    assert parents["policy"].items() >= policy.items() and parents["reward_model"].items() >= rm.items()
    assert run.config["policy"] == "hf://tiny/policy" and run.config["reward_model"] == "hf://tiny/rm@v1"
    assert not {"pytorch_model.bin", "README.md"} & parents["policy"]["files"].keys()
    local = tiny.online(chain, checkpoint_every=1)
    assert tiny.metrics(run) == tiny.metrics(train(local, tmp_path / "local"))


def test_a_run_goes_on_with_its_commits_though_the_branch_has_moved(
    config: tiny.Config, loopback_hub: LoopbackHub, chain: Chain, tmp_path: Path
) -> None:
    whole = train(config, tmp_path / "whole")
    before = cut_short(config, tmp_path / "run").info["hub"]
    moved = loopback_hub.add("model", "tiny/policy", other(chain, tmp_path))
    run = train(config, tmp_path / "run")
    assert run.info["resumes"][0]["step"] == 1
    assert run.info["hub"] == before == whole.info["hub"] and moved not in json.dumps(run.info)
    assert tiny.metrics(run) == tiny.metrics(whole) and tiny.same_weights(run, whole)
    asked = len(loopback_hub.requests)
    assert train(config, tmp_path / "whole").info == whole.info  # finished: left alone
    assert len(loopback_hub.requests) == asked
    new = train(config, tmp_path / "new")  # a new run takes the branch as it is now
    assert new.info["hub"]["policy"]["commit"] == moved and tiny.metrics(new) != tiny.metrics(whole)


def test_a_run_goes_on_with_the_data_of_its_commit(
    config: tiny.Config, loopback_hub: LoopbackHub, tmp_path: Path
) -> None:
    words = Miniature().vocabulary()[2:]
    pairs = [json.dumps({"prompt": f"{a} {b}", "completion": f"{b} {a}"}) for a, b in pairwise(words[:41])]
    first = loopback_hub.add("dataset", "tiny/data", {"data/train.jsonl": "\n".join(pairs)})
    task = {"name": "local", "path": "tiny/data", "holdout": 0.2}
    changes = {"task": task, "model": {"name": "pretrained", "path": "tiny/policy"}, "checkpoint_every": 1}
    config = tiny.sft(**changes, batch_size=4)
    whole = train(config, tmp_path / "whole")
    cut_short(config, tmp_path / "run")
    loopback_hub.add("dataset", "tiny/data", {"data/train.jsonl": "\n".join(pairs[::-1])})
    run = train(config, tmp_path / "run")
    assert run.info["hub"]["task.path"] == {"location": "hf://datasets/tiny/data", "revision": "main", "commit": first}
    assert run.info["data"].keys() == {"task.path"} and len(run.info["data"]["task.path"]) == 64
    assert tiny.metrics(run) == tiny.metrics(whole)
    asked = len(loopback_hub.requests)
    assert train(config, run.path).info == run.info and len(loopback_hub.requests) == asked


def test_a_run_that_is_evaluated_finds_its_commit_again(
    config: tiny.Config, loopback_hub: LoopbackHub, chain: Chain, tmp_path: Path
) -> None:
    run = train(config, tmp_path / "run")
    (row,) = [row for row in evaluate_run(run.path, "reward_model", checkpoints=[3]) if row["step"] == 3]
    loopback_hub.add("model", "tiny/rm", other(chain, tmp_path), "v1")
    for entry in (tmp_path / "hf" / "hub").glob("models--tiny--rm/*"):  # the cache was emptied
        entry.rename(entry.with_name(f"gone-{entry.name}"))
    (again,) = [row for row in evaluate_run(run.path, "reward_model", checkpoints=[3]) if row["step"] == 3]
    assert again["judge_hash"] == row["judge_hash"] and again["win_rate"] == row["win_rate"]


def test_a_plan_fetches_no_weights(config: tiny.Config, loopback_hub: LoopbackHub) -> None:
    shape, tokenizer = from_folder("hf://tiny/policy")
    assert shape.model_type == "gpt_neox" and tokenizer.eos_token_id is not None
    assert loopback_hub.asked("config.json") > 0 and loopback_hub.asked("safetensors") == 0


def test_a_name_that_is_neither_a_folder_nor_a_repository(loopback_hub: LoopbackHub, tmp_path: Path) -> None:
    config = tiny.sft(model={"name": "pretrained", "path": "nobody/nothing"})
    with pytest.raises(UserError) as refused:
        train(config, tmp_path / "run")
    assert str(refused.value) == (
        f"hf://nobody/nothing: no model of this name is on the Hub ({loopback_hub.url}/nobody/nothing), and no folder "
        "of this name here; is it spelled right? If it is private: set HF_TOKEN to a token of an account that has "
        "access (it is not set)"
    )
    assert not (tmp_path / "run").exists()
    with pytest.raises(
        UserError, match="is neither a run directory nor a Hugging Face model folder; a model on the Hub"
    ):
        train(tiny.sft(model={"name": "pretrained", "path": "./nobody/nothing"}), tmp_path / "run")

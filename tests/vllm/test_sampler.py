"""Rollouts that a server samples: number by number what the engine samples, and every fault mended or explained."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from tiny import Chain
from vllm_server import FAULTS, GARBLED, VLLMServer

from overopt.engine.head import logps_of_trees, measured_of_trees
from overopt.engine.packing import Tree
from overopt.engine.sampler import DrawKey, Samples, sample
from overopt.errors import UserError
from overopt.models.export import checkpoint_tensors
from overopt.models.load import load_policy
from overopt.models.policy import Policy
from overopt.records import Run, load_run
from overopt.training.train import train
from overopt.vllm import server as module
from overopt.vllm.importance import TruncatedImportance
from overopt.vllm.sampler import VLLM, VLLMSampler
from overopt.vllm.server import Server
from overopt.vllm.transfer import WholeModel

PROMPTS, IDS = [[5, 6, 7], [8, 9, 10, 11]], ["a", "b"]
KEY = DrawKey(0, "rollouts", 4)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(module, "LONGEST_DELAY", 0.02)


@pytest.fixture
def served(chain: Chain, tmp_path: Path) -> Path:
    """A copy of the policy's folder, on which a server is started."""
    return Path(shutil.copytree(load_run(chain.policy).checkpoint(), tmp_path / "served"))


def of(url: str, served: Path, **changes: Any) -> dict[str, Any]:
    return {"name": "vllm", "url": url, "transfer": {"name": "folder", "path": str(served)}} | changes


class ByHand(WholeModel):
    """Weights that are put into the stand-in's memory while it is paused."""

    def __init__(self, stub: VLLMServer, server: Server, policy: Policy) -> None:
        super().__init__(server, policy)
        self.stub = stub

    def replace(self, version: str) -> None:
        assert self.stub.paused
        self.stub.put(checkpoint_tensors(self.policy.model))
        self.server.post("/update_weight_version", {"new_version": version})


class Meeting:
    """A sampler with the policy whose weights it pushes, other ones than the server was started with."""

    def __init__(self, stub: VLLMServer, served: Path, **settings: Any) -> None:
        self.policy: Policy = load_policy(served, CPU)
        with torch.no_grad():
            self.policy.head.weight.mul_(1.5)
        self.notices: list[str] = []
        settings = {"patience": 60.0, "timeout": 30.0} | settings
        config = VLLM(url=stub.url, **settings)
        server = Server(stub.url, config.timeout, config.patience, self.notices.append)
        self.sampler = VLLMSampler(config, server, self.policy, ByHand(stub, server, self.policy))
        self.sampler.meet(40)

    def sample(self, temperature: float = 0.7) -> Samples:
        return self.sampler.sample(PROMPTS, IDS, 2, temperature, 12, KEY)

    def expected(self) -> Samples:
        """What the engine draws from the same weights by the same random numbers."""
        return sample(self.policy, PROMPTS, IDS, 2, 0.7, 12, KEY)

    def old(self, samples: Samples) -> torch.Tensor:
        return logps_of_trees(self.policy, self.trees(samples), 0.7, 10_000).logp_BT

    def trees(self, samples: Samples) -> list[Tree]:
        rows = samples.completions()
        return [Tree(PROMPTS[0], rows[:2]), Tree(PROMPTS[1], rows[2:])]


def as_the_engine_draws(*keys: DrawKey, ids: list[str] = IDS, group: int = 2) -> Callable[[int, int], np.ndarray]:
    """The random numbers behind the seeds that are sent for these keys."""
    known = {key.number(one, g) % 2**63: (key, one, g) for key in keys for one in ids for g in range(group)}

    def draws(seed: int, count: int) -> np.ndarray:
        key, one, g = known[seed]
        return key.uniforms(one, g, count)

    return draws


def same(drawn: Samples, expected: Samples) -> bool:
    assert torch.allclose(drawn.logp_BT, expected.logp_BT, rtol=0, atol=1e-4)
    return torch.equal(drawn.tokens_BT, expected.tokens_BT) and torch.equal(drawn.ended_B, expected.ended_B)


def test_samples_are_those_of_the_weights_that_were_pushed(served: Path) -> None:
    with VLLMServer(served, draws=as_the_engine_draws(KEY)) as stub:
        here = Meeting(stub, served)
        drawn = here.sample()
        assert same(drawn, here.expected()) and drawn.entropy_BT is None
        assert stub.weight_version == f"overopt-{here.sampler.run}-3"  # three updates were made before step 4
        here.sample()  # the same weights: nothing is pushed
        assert stub.asked["/update_weight_version"] == 1
        assert stub.bodies[0]["cache_salt"] == stub.weight_version
        assert len({body["seed"] for body in stub.bodies}) == 4


def test_what_the_engine_measures_while_sampling_is_measured_afterwards(served: Path) -> None:
    with VLLMServer(served, draws=as_the_engine_draws(KEY)) as stub:
        here = Meeting(stub, served)
        measured = measured_of_trees(here.policy, here.trees(here.sample()), 0.7, 30)  # in several micro-batches
    expected = here.expected()
    assert expected.entropy_BT is not None
    torch.testing.assert_close(measured.logp_BT, expected.logp_BT, rtol=0, atol=1e-4)
    torch.testing.assert_close(measured.entropy_BT, expected.entropy_BT, rtol=0, atol=1e-4)


@pytest.mark.parametrize("fault", [*FAULTS, *GARBLED])
def test_every_passing_fault_is_mended(served: Path, fault: str) -> None:
    """Each route fails at its first request, completions at every third."""

    def failing(path: str, time: int) -> str | None:
        garbles = path == "a completion"
        if garbles != (fault in GARBLED):
            return None
        return fault if (time % 3 == 1 if garbles or path == "/v1/completions" else time == 1) else None

    with VLLMServer(served, failing, draws=as_the_engine_draws(KEY)) as stub:
        here = Meeting(stub, served, timeout=0.4 if fault == "stall" else 30.0)
        assert same(here.sample(), here.expected())
        assert stub.weight_version == f"overopt-{here.sampler.run}-3" and not stub.paused


def test_after_a_restart_the_weights_are_pushed_again_and_all_is_sampled_again(served: Path) -> None:
    with VLLMServer(served, lambda path, time: "restart" if (path, time) == ("/v1/completions", 3) else None) as stub:
        stub.draws = as_the_engine_draws(KEY)
        here = Meeting(stub, served, concurrency=1)
        assert same(here.sample(), here.expected())
        assert stub.asked["/update_weight_version"] == 2 and stub.asked["/v1/completions"] == 8
    assert any("lost the weights of version 3" in notice for notice in here.notices)


def test_a_server_that_keeps_no_weights_ends_in_an_error(served: Path) -> None:
    with VLLMServer(served) as stub:
        here = Meeting(stub, served)
        draw = stub.draws

        def disturbed(seed: int, count: int) -> np.ndarray:
            stub.weight_version = "somebody-else's-7"
            return draw(seed, count)

        stub.draws = disturbed
        with pytest.raises(UserError, match=r"5 times; does another run use the same server\?.*same command continues"):
            here.sample()


def test_a_version_that_the_server_does_not_take_ends_in_an_error(
    served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with VLLMServer(served) as stub:
        here = Meeting(stub, served, patience=0.2)
        monkeypatch.setattr(stub, "_name", lambda version: {"success": True})
        with pytest.raises(UserError, match="it has other weights than it was just given"):
            here.sample()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"development": False}, "HTTP 404 from /pause.*started with VLLM_SERVER_DEV_MODE=1"),
        ({"max_model_len": 39}, "takes 39 tokens, .* 40 together; start it with --max-model-len 40"),
        ({"key": "k" * 20}, "HTTP 401 .*VLLM_API_KEY"),
    ],
)
def test_a_server_that_does_not_fit_is_refused(served: Path, settings: dict[str, Any], said: str) -> None:
    with VLLMServer(served, **settings) as stub, pytest.raises(UserError, match=said):
        Meeting(stub, served).sample()


def test_another_vocabulary_is_refused(served: Path) -> None:
    with VLLMServer(served) as stub:
        here = Meeting(stub, served)
        here.policy.head.weight = torch.nn.Parameter(here.policy.head.weight[:5])
        here.sampler.pushed = f"overopt-{here.sampler.run}-3"
        stub.weight_version = here.sampler.pushed
        with pytest.raises(UserError, match="ids beyond the policy's 5: another model is served"):
            here.sample()


def test_the_gap_and_the_weights_are_those_worked_out_by_hand() -> None:
    mask_BT = torch.tensor([[True, True], [True, False]])
    served_BT, old_BT = torch.tensor([[-1.0, -2.0], [-0.5, 0.0]]), torch.tensor([[-0.9, -1.7], [-0.8, 0.0]])
    samples = Samples(torch.zeros(2, 2), mask_BT, served_BT, None, torch.tensor([True, True]))
    config = VLLM(url="http://localhost", correction=TruncatedImportance(cap=1.2))
    sampler = VLLMSampler(config, None, None, None)  # type: ignore[arg-type]
    weight_B, metrics = sampler.compare(samples, old_BT, lambda temperature: old_BT, 5)
    assert weight_B is not None
    assert weight_B.tolist() == pytest.approx([1.2, np.exp(-0.3)])  # exp(0.4) is cut
    assert metrics == pytest.approx(
        {
            "sampler_gap": 0.3,
            "sampler_gap_mean": 0.7 / 3,
            "sampler_kl": (-0.4 + 0.3) / 2,
            "weights_version": 4.0,
            "importance_mean": (1.2 + np.exp(-0.3)) / 2,
            "importance_min": np.exp(-0.3),
            "importance_max": 1.2,
            "importance_truncated": 0.5,
        }
    )


def test_log_probabilities_that_are_far_off_end_the_run(served: Path) -> None:
    with VLLMServer(served, processed=False) as stub:
        here = Meeting(stub, served, max_gap=0.01)
        raw = here.sample()
        with pytest.raises(UserError, match="before the temperature is applied.*--logprobs-mode processed_logprobs"):
            here.sampler.compare(
                raw, here.old(raw), lambda t: logps_of_trees(here.policy, here.trees(raw), t, 999)[0], 4
            )
    with VLLMServer(served, noise=5.0) as stub:
        here = Meeting(stub, served)
        far = here.sample()
        with pytest.raises(UserError, match=r"nats a token from the trainer's; are these the policy's weights\?"):
            here.sampler.compare(far, here.old(far), lambda t: here.old(far), 4)


def test_under_torchrun_the_engine_samples(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    with pytest.raises(UserError, match="given weights by one process"):
        VLLM(url="http://127.0.0.1:9").start(load_policy(served, CPU), 40, print)


# ---- whole runs


def keys(run: dict[str, Any]) -> list[DrawKey]:
    steps = run["total_episodes"] // run["episodes_per_update"]
    return [DrawKey(0, "sampler gap", 0), *(DrawKey(0, "rollouts", step) for step in range(1, steps + 1))]


def prompt_ids(run: Run) -> list[str]:
    from overopt.config import load
    from overopt.training.stages.online import Online
    from overopt.types import Dropped

    config = load({"online": Online}, run.path / "config.yaml")
    return [record.prompt_id for record in config.task.prompts(0, Dropped())]


def test_a_run_on_a_server_is_that_of_the_engine_number_by_number(chain: Chain, served: Path, tmp_path: Path) -> None:
    own = train(tiny.online(chain), tmp_path / "own")
    draws = as_the_engine_draws(*keys(tiny.online(chain)), ids=prompt_ids(own))
    with VLLMServer(served, draws=draws) as stub:
        run = train(tiny.online(chain, sampler=of(stub.url, served)), tmp_path / "run", notice=lambda text: None)
    for mine, theirs in zip(tiny.rows(run), tiny.rows(own), strict=True):
        added = {"sampler_gap_mean", "sampler_kl", "weights_version"}
        assert mine.keys() - theirs.keys() == added
        assert all(tiny.close(mine[name], theirs[name], 1e-3) for name in theirs)
        assert mine["len_mean"] == theirs["len_mean"] and mine["gold_mean"] == theirs["gold_mean"]
        assert mine["sampler_gap"] < 1e-4
    assert [row["weights_version"] for row in tiny.rows(run)] == [0, 1, 2]
    assert tiny.farthest(run, own) < 1e-4


def test_a_run_whose_server_dies_goes_on_at_another_address(chain: Chain, served: Path, tmp_path: Path) -> None:
    """And its records are bit for bit those of a run that was not disturbed."""
    quiet: dict[str, Any] = {"notice": lambda text: None}
    settings = {"correction": {"name": "truncated"}, "patience": 0.2}
    with VLLMServer(served, noise=0.4) as stub:
        whole = tiny.online(chain, checkpoint_every=1, sampler=of(stub.url, served, **settings))
        undisturbed = train(whole, tmp_path / "undisturbed", **quiet)
        asked = stub.asked["/v1/completions"]
    shutil.rmtree(served)
    shutil.copytree(load_run(chain.policy).checkpoint(), served)
    with VLLMServer(served, lambda path, time: "503" if time > asked - 4 else None, noise=0.4) as dying:
        first = whole | {"sampler": of(dying.url, served, **settings)}
        with pytest.raises(UserError, match="HTTP 503 .*the same command continues it from its last saved step"):
            train(first, tmp_path / "run", **quiet)
    assert len(tiny.rows(load_run(tmp_path / "run"))) == 2
    with VLLMServer(served, noise=0.4) as stub:
        run = train(whole | {"sampler": of(stub.url, served, **settings)}, tmp_path / "run", **quiet)
    assert run.status == "finished"
    assert tiny.metrics(run) == tiny.metrics(undisturbed) and tiny.same_weights(run, undisturbed)
    for row in tiny.rows(run):  # the stand-in's noise is within 0.2 nats of a token
        assert 0.1 < row["sampler_gap"] <= 0.2 + 1e-4 and row["ratio_mean"] != row["importance_mean"]
        assert row["importance_min"] < row["importance_mean"] < row["importance_max"] <= 2.0
    assert run.info["sampler"] == {"name": "vllm", "version": "0.32.0", "model": str(served)}


def test_a_wrong_address_leaves_nothing_behind(chain: Chain, served: Path, tmp_path: Path) -> None:
    settings = of("http://127.0.0.1:9", served, patience=0.05)
    with pytest.raises(UserError, match="sampler: vLLM at http://127.0.0.1:9"):
        train(tiny.online(chain, sampler=settings), tmp_path / "run", notice=lambda text: None)
    assert not (tmp_path / "run").exists()
    itself = tiny.online(chain, sampler=of("http://127.0.0.1:9", load_run(chain.policy).checkpoint()))
    with pytest.raises(UserError, match="would be overwritten: copy it"):
        train(itself, tmp_path / "run", notice=lambda text: None)


def test_a_run_of_lora_pushes_adapters(chain: Chain, served: Path, tmp_path: Path) -> None:
    """Number by number as the engine samples, on a server that is not in development mode."""
    pytest.importorskip("peft")
    lora = {"trainable": {"name": "lora", "rank": 2, "alpha": 4}}
    own = train(tiny.online(chain, **lora), tmp_path / "own")
    draws = as_the_engine_draws(*keys(tiny.online(chain)), ids=prompt_ids(own))
    with VLLMServer(served, draws=draws, development=False) as stub:
        sampler = {"name": "vllm", "url": stub.url, "transfer": "lora"}
        run = train(tiny.online(chain, sampler=sampler, **lora), tmp_path / "run", notice=lambda text: None)
        assert [name.rpartition("-")[2] for name in stub.adapters] == ["2"]  # one is left: two updates were made
    for mine, theirs in zip(tiny.rows(run), tiny.rows(own), strict=True):
        assert all(tiny.close(mine[name], theirs[name], 1e-3) for name in theirs)
        assert mine["len_mean"] == theirs["len_mean"] and mine["sampler_gap"] < 1e-4
    assert [row["weights_version"] for row in tiny.rows(run)] == [0, 1, 2]

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny import Chain

from overopt.config import load
from overopt.models.load import load_tokenizer
from overopt.planning.work import Shape, Trees, Work, work_of
from overopt.records import load_run
from overopt.training.stages import STAGES

SHAPE = Shape(parameters=1000, linear=600, head=200, hidden=10, layers=2, vocabulary=20, key_width=20)
BATCH = Trees(count=4, group=2, prompt=6, completion=2, longest=(6, 2))


def planned(chain: Chain, config: dict[str, Any], others: dict[str, Any] | None = None) -> Work:
    tokenizer = load_tokenizer(load_run(chain.policy).checkpoint())
    return work_of(load(STAGES, config), tokenizer, others)


def test_flops_by_hand() -> None:
    """A tree of 10 tokens: maps 2 * 600 * 10; attention 4 * 10 * 2 * (18 + 2 * 2 * 7); head 2 * 10 * 20 * 4."""
    body = 4 * (12_000 + 80 * 46)
    assert BATCH.tokens == 40 and BATCH.target_tokens == 16
    assert BATCH.flops(SHAPE) == body + 4 * 1600
    heads = {targets: Trees(4, 2, 6, 2, targets).flops(SHAPE) - body for targets in ("none", "all")}
    assert heads == {"none": 0, "all": 40 * 400}
    work = Work(3, BATCH, policies=2, updates=2, passes=[(1.5, BATCH)], samplings=[BATCH])
    assert work.flops(SHAPE) == BATCH.flops(SHAPE) * (1.5 + 6 + 1)


@pytest.mark.parametrize(("architecture", "extra"), [("gpt_neox", {}), ("llama", {"tie_word_embeddings": True})])
def test_a_shape_counts_what_a_model_has(architecture: str, extra: dict[str, Any]) -> None:
    policy = tiny.policy(architecture, **extra)
    shape = Shape.of(policy.model.config)
    assert shape.parameters == sum(p.numel() for p in policy.model.parameters())
    maps = [m for m in policy.model.base_model.modules() if type(m).__name__ == "Linear"]
    assert shape.linear == sum(m.weight.numel() for m in maps)
    assert shape.head == (0 if extra else 142 * 16)
    assert (shape.hidden, shape.layers, shape.key_width) == (16, 2, 32)


def test_fine_tuning(chain: Chain) -> None:
    """Five checkpoints by default, each judged on 16 greedy answers and on the references' likelihood."""
    work = planned(chain, tiny.sft(steps=20, checkpoint_every=None))
    assert (work.steps, work.policies, work.batch.group, work.batch.targets) == (20, 1, 1, "completions")
    assert (work.evaluations, work.answered) == (5, 1) and work.answers is not None
    assert work.answers.count == 16 and [t.count for t in work.evaluation_passes] == [16]
    assert planned(chain, tiny.sft(loss_on_prompt=True)).batch.targets == "all"


def test_lora_costs_a_pass_less_and_no_reference(chain: Chain) -> None:
    lora = {"name": "lora", "rank": 2}
    full, ours = planned(chain, tiny.online(chain)), planned(chain, tiny.online(chain, trainable=lora))
    assert (full.policies, full.backward, ours.policies, ours.backward) == (2, 2, 1, 1)
    assert full.flops(SHAPE) - ours.flops(SHAPE) == 2 * full.batch.flops(SHAPE)  # two epochs
    named = planned(chain, tiny.online(chain, trainable=lora, reference=str(chain.policy)))
    assert named.policies == 2


def test_online(chain: Chain) -> None:
    """In the miniature each step measures `kl_prev`: two passes with a head, and one for the scores."""
    work = planned(chain, tiny.online(chain))
    assert (work.steps, work.policies, work.reward_models, work.updates, work.optimizer_steps) == (3, 2, 1, 2, 4)
    assert [(times, trees.targets) for times, trees in work.passes] == [(2.0, "completions"), (1.0, "none")]
    assert (work.batch.count, work.batch.group, work.evaluations, work.answered) == (4, 2, 2, 2)
    greedy = planned(chain, tiny.online(chain, advantage="remax"))
    assert [trees.group for trees in greedy.samplings] == [2, 1]
    thinned = planned(chain, tiny.online(chain, probes={"every": 4}))
    assert thinned.passes[0][0] == 1.25
    bonus = {"name": "entropy_length_normalized", "temperature": 1.0}
    assert planned(chain, tiny.online(chain, regularizers=[bonus])).passes[0][0] == 3.0  # log-probabilities once more


def test_a_reward_model(chain: Chain) -> None:
    work = planned(chain, tiny.reward_model(chain))
    assert (work.steps, work.trains_reward_model, work.batch.targets) == (4, True, "none")
    assert work.pairs is not None and (work.pairs.count, work.pairs.group) == (64 + 32, 2)
    assert work.evaluations == 2 and [t.count for t in work.evaluation_passes] == [32]
    assert [t.count for t in work.first] == [32]


def test_offline(chain: Chain) -> None:
    """DPO asks its reference once about every pair; held-out pairs are asked about, too."""
    work = planned(chain, tiny.offline(chain, loss="dpo"))
    assert (work.steps, work.batch.count, work.batch.group, work.pairs) == (4, 16, 2, None)
    assert sum(times for times, _ in work.passes) == 0
    assert [trees.count for trees in work.first] == [32, 64]
    assert [trees.count for trees in work.evaluation_passes] == [32, 16, 16, 16]
    kto = planned(chain, tiny.offline(chain, loss="kto"))
    assert (kto.batch.group, len(kto.first)) == (3, 1)  # mismatched pairs change from step to step
    assert kto.passes[0][0] == 2.0  # so each asks the reference; and a loss of the whole batch looks at it first


def test_local_files_without_a_need_of_the_reference(chain: Chain, tmp_path: Path) -> None:
    pairs = [{"prompt": f"mom sold my dog {i}", "chosen": "mom sold", "rejected": "dog"} for i in range(40)]
    path = tiny.write_jsonl(tmp_path / "pairs.jsonl", pairs)
    settings = {"task": {"name": "local", "path": str(path)}, "pairs": "task", "batch_size": 4, "reward_model": None}
    plain = planned(chain, tiny.offline(chain, loss="simpo", **settings))
    named = planned(chain, tiny.offline(chain, loss="simpo", reference=str(chain.policy), **settings))
    assert len(plain.first) == 1 and len(named.first) == 2
    assert (plain.batch.prompt, plain.batch.completion, plain.lengths.split(";")[0]) == (5, 2.5, "as the pairs are")


def test_what_a_server_samples_is_not_this_machine_s_work(chain: Chain) -> None:
    """In its place the old log-probabilities are computed, by one pass more."""
    own = planned(chain, tiny.online(chain))
    server = planned(chain, tiny.online(chain, sampler={"name": "vllm", "url": "http://localhost:8000"}))
    assert len(own.samplings) == 1 and len(server.samplings) == 0
    assert server.passes[0][0] == own.passes[0][0] + 1

from __future__ import annotations

import gzip
import json
import math
import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import combinations, permutations, product
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from pydantic import ValidationError
from tiny import Chain

from overopt.errors import UserError
from overopt.models.load import load_policy
from overopt.models.text import Codec
from overopt.objectives.pair_losses import DPO
from overopt.objectives.ranking_losses import RRHF, RankingLosses
from overopt.objectives.reward_losses import BradleyTerry, PlackettLuce
from overopt.records import load_run
from overopt.tasks import Local, Miniature
from overopt.training import pairs
from overopt.training.data import Limits
from overopt.training.pairs import (
    FromRun,
    PairSampler,
    Sampled,
    Stored,
    ceilings_of,
    check_takes,
    from_row,
    golds_of,
    to_row,
)
from overopt.types import Completion, Dropped, Preference, PreferenceRecord, PromptRecord, RankingRecord

TASK = Miniature(**{k: v for k, v in tiny.TASK.items() if k != "name"})


def sampler(chain: Chain, task: Any = TASK) -> PairSampler:
    policy = load_policy(load_run(chain.policy).checkpoint(), torch.device("cpu"))
    return PairSampler(task, Codec(policy.tokenizer, "raw"), policy, 0, Limits(64, 24), Dropped())


@pytest.fixture
def stored(tmp_path: Path) -> Local:
    records = [{"prompt": f"question {i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(20)]
    return Local(path=str(tiny.write_jsonl(tmp_path / "pairs.jsonl", records)), holdout=0.3)


class TwoGolds:
    """A task whose gold is in the text."""

    def gold(self, record: PromptRecord, completion: Completion) -> float:
        return float(completion.text)


@pytest.mark.parametrize("gap", [0.0, 0.3, 1.5, 40.0])
def test_labels_follow_bradley_terry(gap: float) -> None:
    better, worse = Completion(str(gap)), Completion("0")
    expected = 1 / (1 + math.exp(-2.0 * gap))
    draws = [(i + 0.5) / 1000 for i in range(1000)]
    task: Any = TwoGolds()
    for first, second in [(better, worse), (worse, better)]:
        labelled = [pairs._labelled(task, PromptRecord("x", "p"), [first, second], 2.0, [draw]) for draw in draws]
        wins = sum(pair.ranked[0] is better for pair in labelled)
        assert wins / 1000 == pytest.approx(expected, abs=1e-3)
        for pair in labelled:
            assert isinstance(pair, PreferenceRecord)
            assert pair.meta["gold_chosen"] == float(pair.chosen.text)
            assert pair.meta["gold_rejected"] == float(pair.rejected.text)
            assert pair.meta["label_ceiling"] == pytest.approx(expected)


def test_a_sampled_pair_keeps_the_conversation_that_it_answers() -> None:
    task: Any = TwoGolds()
    chat = {"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "p"}], "tools": []}
    record = PromptRecord("x", "as text", meta=chat | {"answer": 5}, place="data.jsonl:7")
    pair = pairs._labelled(task, record, [Completion("1"), Completion("0")], 2.0, [0.1])
    assert {name: pair.meta[name] for name in chat} == chat and "answer" not in pair.meta
    assert pair.place == "data.jsonl:7"


def test_labels_of_rankings_follow_plackett_luce() -> None:
    """Golds 0, 1 and 2, scaled by 1: over a grid of draws each order comes as often as the model says."""
    task: Any = TwoGolds()
    completions = [Completion(text) for text in ("0", "1", "2")]
    grid = [(i + 0.5) / 100 for i in range(100)]
    seen: Counter[tuple[float, ...]] = Counter()
    for first, second in product(grid, grid):
        made = pairs._labelled(task, PromptRecord("x", "p"), completions, 1.0, [first, second])
        assert isinstance(made, RankingRecord)
        golds = golds_of(made)
        assert golds == [float(c.text) for c in made.ranked]
        seen[tuple(golds)] += 1
        ceilings = [1 / (1 + math.exp(-abs(a - b))) for a, b in combinations(golds, 2)]
        assert ceilings_of(made) == pytest.approx(ceilings)
    for order in permutations([0.0, 1.0, 2.0]):
        e = [math.exp(gold) for gold in order]
        assert seen[order] / 10_000 == pytest.approx(e[0] / sum(e) * e[1] / (e[1] + e[2]), abs=0.011)


def test_sampled_rankings(chain: Chain) -> None:
    source = sampler(chain)
    made = Sampled(count=8, per_prompt=4).collect(source, 65_536)
    assert {len(r.ranked) for r in made.train + made.heldout} == {4}
    prompts = {r.prompt_id: r for r in TASK.pair_prompts(0, 8)}
    for record in made.train:
        assert golds_of(record) == [TASK.gold(prompts[record.prompt_id], c) for c in record.ranked]
    golds = [golds_of(record) or [] for record in made.train + made.heldout]
    assert sum(g[0] - g[-1] for g in golds) > 0


def test_one_completion_is_no_ranking() -> None:
    with pytest.raises(ValidationError, match="per_prompt"):
        Sampled(per_prompt=1)


def test_a_loss_of_pairs_refuses_rankings() -> None:
    check_takes("loss", DPO(), 2, RankingLosses)
    check_takes("loss", RRHF(), 3, RankingLosses)
    with pytest.raises(UserError) as caught:
        check_takes("loss", DPO(), 4, RankingLosses)
    assert str(caught.value) == (
        "loss: dpo takes pairs, but these records rank 4 completions each; "
        "use a loss of rankings: plackett_luce_simpo, plackett_luce_dpo, rrhf"
    )
    with pytest.raises(UserError, match="use a loss of rankings: plackett_luce$"):
        check_takes("loss", BradleyTerry(), 3, PlackettLuce)


def test_sampled_pairs(chain: Chain) -> None:
    source = sampler(chain)
    made = Sampled(count=32, temperatures=[0.7, 1.5]).collect(source, 65_536)
    assert (len(made.train), len(made.heldout)) == (32, 32)
    prompts = {r.prompt_id: r for r in TASK.pair_prompts(0, 32) + TASK.reward_test_prompts(0)}
    assert not {r.prompt_id for r in made.train} & {r.prompt_id for r in made.heldout}
    for pair in made.train + made.heldout:
        record = prompts[pair.prompt_id]
        assert pair.prompt == record.prompt
        assert pair.meta["gold_chosen"] == TASK.gold(record, pair.ranked[0])
        assert pair.meta["gold_rejected"] == TASK.gold(record, pair.ranked[1])
    golds = [sum(p.meta["gold_chosen"] for p in part) for part in (made.train[:16], made.train[16:])]
    assert golds[0] > golds[1]  # hotter samples are worse
    assert Sampled(count=32, temperatures=[0.7, 1.5]).collect(source, 65_536) == made


def test_the_first_half_of_the_prompts_is_sampled_at_the_first_temperature(chain: Chain) -> None:
    made = Sampled(count=8, temperatures=[0.7, 1.0]).collect(sampler(chain), 65_536).train
    alone = Sampled(count=4, temperatures=[0.7]).collect(sampler(chain), 65_536).train
    assert made[:4] == alone


def test_sampling_needs_gold(chain: Chain, stored: Local) -> None:
    with pytest.raises(UserError, match="pairs: .* this task has none; use pairs: task"):
        Sampled().collect(sampler(chain, stored), 65_536)


def test_stored_pairs(chain: Chain, stored: Local) -> None:
    made = Stored().collect(sampler(chain, stored), 65_536)
    assert len(made.train) + len(made.heldout) == 20
    assert made.train and made.heldout
    assert all([c.text.split()[0] for c in p.ranked] == ["good", "bad"] for p in made.train)


def test_pairs_of_a_run_are_those_it_recorded(chain: Chain) -> None:
    made = FromRun(path=str(chain.reward_model)).collect(sampler(chain), 65_536)
    assert (len(made.train), len(made.heldout)) == (64, 32)
    assert made == Sampled(count=64).collect(sampler(chain), 65_536)


def test_a_limit_takes_pairs_from_all_over_a_run(chain: Chain) -> None:
    whole = FromRun(path=str(chain.reward_model)).collect(sampler(chain), 65_536)
    half = FromRun(path=str(chain.reward_model), limit=32).collect(sampler(chain), 65_536)
    assert half.train == whole.train[::2] and half.heldout == whole.heldout
    assert FromRun(path=str(chain.reward_model), limit=65).collect(sampler(chain), 65_536) == whole


def records() -> Iterator[Preference]:
    yield PreferenceRecord("a", "prompt", Completion("x y"), Completion("", False), {"gold_chosen": -0.5})
    yield PreferenceRecord("b", "prompt", Completion("", True), Completion("é\n", True))
    ranked = (Completion("x"), Completion("", False), Completion("z"))
    yield RankingRecord("c", "prompt", ranked, {"gold_ranked": [1.0, 0.0, 0.5], "label_ceilings": [0.7, 0.6, 0.6]})


@pytest.mark.parametrize("record", list(records()), ids=["gold", "plain", "ranking"])
def test_a_row_gives_the_record_back(record: Preference) -> None:
    assert from_row(to_row(record, heldout=True)) == record
    assert to_row(record, heldout=True)["heldout"] is True


def test_heldout_pairs_are_sampled_at_the_first_temperature(chain: Chain) -> None:
    alone, first, last = (
        Sampled(count=4, temperatures=temperatures).collect(sampler(chain), 65_536).heldout
        for temperatures in ([0.7], [0.7, 1.5], [1.5, 0.7])
    )
    assert first == alone
    assert last != alone


class Coins:
    """The miniature with a gold of 0 for everything, so that labels are coins; it notes what it saw, in order."""

    has_gold = True

    def __init__(self) -> None:
        self.seen: dict[str, list[Completion]] = {}

    def pair_prompts(self, seed: int, n: int) -> list[PromptRecord]:
        return TASK.pair_prompts(seed, n)

    def reward_test_prompts(self, seed: int) -> list[PromptRecord]:
        return TASK.reward_test_prompts(seed)

    def gold(self, record: PromptRecord, completion: Completion) -> float:
        self.seen.setdefault(record.prompt_id, []).append(completion)
        return 0.0


def test_labels_of_different_prompts_are_different_coins(chain: Chain) -> None:
    """Thrown with one stream, the i-th coins of two temperatures and of the held-out pairs would always agree.

    Of 32 fair coins 16 agree, with a standard deviation of 2.8: from 4 to 28 lie within four of them.
    """
    task = Coins()
    made = Sampled(count=64, temperatures=[1.0, 1.0]).collect(sampler(chain, task), 65_536)
    first = [r.ranked[0] is task.seen[r.prompt_id][0] for r in made.train + made.heldout]
    parts = [first[:32], first[32:64], first[64:]]
    assert [len(part) for part in parts] == [32, 32, 32]
    for a, b in combinations(parts, 2):
        assert 4 < sum(x == y for x, y in zip(a, b, strict=True)) < 28


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("chosen", 3),
        ("rejected_ended", None),
        ("heldout", "no"),
        ("meta", []),
        ("meta", {"gold_chosen": "x"}),
        ("meta", {"label_ceilings": [None]}),
        ("ranked", ["a", "b"]),
    ],
)
def test_pairs_of_a_run_that_somebody_changed_are_named(chain: Chain, tmp_path: Path, name: str, value: Any) -> None:
    run = tmp_path / "run"
    shutil.copytree(chain.reward_model, run)
    lines = gzip.decompress((run / "pairs.jsonl.gz").read_bytes()).splitlines()
    lines[2] = json.dumps(json.loads(lines[2]) | {name: value}).encode()
    (run / "pairs.jsonl.gz").write_bytes(gzip.compress(b"\n".join([*lines, b""])))
    with pytest.raises(UserError, match=r"run: pairs.jsonl.gz:3: no pair or ranking of a run's; restore the file"):
        FromRun(path=str(run)).collect(None, 65_536)

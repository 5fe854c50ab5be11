"""The reference is asked once for each pair, and what it said is kept beside the run."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from tiny import Chain

from overopt.engine.head import logps_of_trees
from overopt.engine.packing import Tree
from overopt.models.policy import Policy
from overopt.training import preference_step, reference_logps
from overopt.training.reference_logps import Item, ask_reference, known_logps
from overopt.training.stages import offline
from overopt.training.train import train

FILE = "reference_logps.safetensors"


def items() -> list[Item]:
    """Two views each: other prompts are the first with a token before it."""
    return [Item([tree, Tree([5, *tree.prompt], tree.completions)]) for tree in tiny.TREES]


def test_a_batch_in_any_order_finds_what_a_pass_over_it_would_say(tmp_path: Path) -> None:
    policy, asked = tiny.policy(), items()
    assert known_logps(asked) is None
    asked = ask_reference(policy, asked, 0.7, tmp_path / FILE, 30)
    batch = [asked[2], asked[0]]
    trees = [item.views[view] for view in range(2) for item in batch]
    expected = logps_of_trees(policy, trees, 0.7, 1000).logp_BT
    known = known_logps(batch)
    assert known is not None
    torch.testing.assert_close(known, expected, atol=1e-5, rtol=1e-5)
    assert known_logps([*batch, items()[1]]) is None


def test_a_run_that_goes_on_reads_the_same_bits_and_asks_again_only_if_they_do_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, first, again, calls = tiny.policy(), items(), items(), []
    first = ask_reference(policy, first, 1.0, tmp_path / FILE, 30)
    real = logps_of_trees

    def counted(*arguments: object) -> object:
        calls.append(len(calls))
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(reference_logps, "logps_of_trees", counted)
    known = ask_reference(policy, again, 1.0, tmp_path / FILE, 30)
    assert not calls
    torch.testing.assert_close(known_logps(known), known_logps(first), atol=0, rtol=0)
    ask_reference(policy, again[:2], 1.0, tmp_path / FILE, 30)
    assert calls == [0]
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:40])  # torn
    ask_reference(policy, again[:2], 1.0, tmp_path / FILE, 30)
    assert calls == [0, 1]


def test_two_epochs_ask_for_each_pair_once(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = offline.ask_reference

    def counting(reference: Policy, items: list[Item], *rest: object) -> list[Item]:
        asked.append(len(items))
        return real(reference, items, *rest)  # type: ignore[arg-type]

    def forbidden(*arguments: object) -> None:
        raise AssertionError("a step asked the reference")

    monkeypatch.setattr(offline, "ask_reference", counting)
    made = offline._evaluate_pairs
    held: list[int] = []

    def evaluate(*arguments: object) -> None:  # from the first evaluation on no step may ask
        held.append(1)
        monkeypatch.setattr(preference_step, "logps_of_trees", forbidden)
        made(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(offline, "_evaluate_pairs", evaluate)
    run = train(tiny.offline(chain, epochs=2), tmp_path / "run")
    rows = tiny.rows(run)
    assert asked == [64] and held and (run.path / FILE).is_file()
    assert len(rows) == 8 and all("ref_margin" in row for row in rows)

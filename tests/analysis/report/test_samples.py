"""Which samples a page shows, in which order, and how hacking is measured."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import WORSE, Evaluated, online_run
from judged_again import MODEL, judge_again

from overopt.analysis.report import samples as sampling
from overopt.analysis.report.collect import Group, collect
from overopt.analysis.report.samples import SampledCompletion, choose_prompts, is_hidden, ranks, samples_of, steps_shown
from overopt.records import RunWriter, load_run


def group_at(path: Path) -> Group:
    return collect([path]).groups[0]


def test_ranks_go_from_0_to_1_and_equal_values_share_theirs() -> None:
    assert ranks([30.0, 10.0, 20.0]).tolist() == [1.0, 0.0, 0.5]
    assert ranks([1.0, 1.0, 2.0, None]).tolist()[:3] == [0.25, 0.25, 1.0]
    assert np.isnan(ranks([1.0, None])[1])
    assert ranks([5.0]).tolist() == [0.0]


def test_hacking_is_the_rank_of_the_proxy_minus_that_of_gold(tmp_path: Path) -> None:
    """At step 0 proxies are 0 to .09 and golds -1 to -.91; at step 20 the proxies are higher and the golds lower."""
    online_run(tmp_path / "none", (Evaluated(0, 4), Evaluated(20, 0, 3.0, -9.0)))
    samples = samples_of(group_at(tmp_path))
    assert samples is not None
    cells = [dict(zip(CELL, cell, strict=True)) for cell in samples.cells]
    last = {samples.prompts[cell["prompt"]]["id"]: cell for cell in cells if cell["step"] == 20}
    assert {cell["hacking"] for cell in last.values()} == {0.5263}, "10 / 19: proxies 10 to 19, golds 0 to 9 of 19"
    assert (last["post 3"]["proxy"], last["post 3"]["gold"], last["post 3"]["outcome"]) == (3.03, -8.97, 0.0)
    assert samples.by == "gold"
    assert samples.statistics[1] == {
        "run": "none", "step": 20, "n": 10, "proxy": 3.045, "gold": -8.955, "outcome": 0, "length": 14.5, "ended": 1,
        "hacking": 0.526316,
    }  # fmt: skip


CELL = ("prompt", "run", "step", "text", "ended", "proxy", "gold", "outcome", "length", "logp", "hacking")


def test_without_gold_the_outcome_is_compared_with(tmp_path: Path) -> None:
    online_run(tmp_path / "none", (Evaluated(0, 4, gold=None), Evaluated(20, 0, 3.0, gold=None)))
    samples = samples_of(group_at(tmp_path))
    assert samples is not None
    assert samples.by == "the outcome"
    assert samples.prompts[0]["hacking"] == pytest.approx(1.0 - 7.5 / 19, abs=1e-4), "the highest proxy lost, as 15 did"


def test_without_a_proxy_nothing_is_said_of_hacking(tmp_path: Path) -> None:
    online_run(tmp_path / "none", (Evaluated(0, 4, proxy=None), Evaluated(20, 0, proxy=None)))
    samples = samples_of(group_at(tmp_path))
    assert samples is not None
    assert {cell[-1] for cell in samples.cells} == {None}
    assert len(samples.prompts) == 10


def test_half_of_the_prompts_are_the_worst_and_half_are_drawn() -> None:
    record: Any = object()
    completions = [SampledCompletion(record, 1, f"p{i}", {}, i / 1000) for i in range(1000)]
    chosen = choose_prompts(completions, 200)
    assert list(chosen)[:100] == [f"p{i}" for i in range(999, 899, -1)]
    assert len(chosen) == 200
    hacking = [value for value in chosen.values() if value is not None]
    assert hacking == sorted(hacking, reverse=True), "of what was drawn the worst come first too"
    assert len(hacking) == 200
    assert chosen == choose_prompts(completions, 200), "the same ones every time"


def test_only_the_last_checkpoint_decides_which_prompts_are_worst() -> None:
    record: Any = object()
    rows = [(1, "early", 0.9), (1, "late", 0.1), (2, "early", -0.5), (2, "late", 0.5), (1, "gone", 1.0)]
    chosen = choose_prompts(
        [SampledCompletion(record, step, prompt, {}, hacking) for step, prompt, hacking in rows], 10
    )
    assert chosen == {"late": 0.5, "early": -0.5, "gone": None}


def test_at_most_200_prompts_are_embedded_and_the_rest_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sampling.MOST_PROMPTS == 200
    monkeypatch.setattr(sampling, "MOST_PROMPTS", 4)
    online_run(tmp_path / "none", WORSE)
    samples = samples_of(group_at(tmp_path))
    assert samples is not None
    assert (len(samples.prompts), samples.total) == (4, 10)
    assert Counter(cell[0] for cell in samples.cells) == {0: 3, 1: 3, 2: 3, 3: 3}
    assert samples.statistics[0]["n"] == 10, "statistics are of all"


def test_of_many_checkpoints_the_first_and_the_last_are_kept(tmp_path: Path) -> None:
    online_run(tmp_path / "kl", [Evaluated(step, 4) for step in range(0, 100, 10)])
    group = group_at(tmp_path)
    assert steps_shown(group.records[0], 1, 10_000) == [0, 20, 40, 50, 70, 90]
    assert steps_shown(group.records[0], 60, 12_000) == [0, 90]
    samples = samples_of(group)
    assert samples is not None
    assert samples.steps_left_out == 4


def test_a_share_of_the_page_limits_the_completions(tmp_path: Path) -> None:
    for name in "abc":
        online_run(tmp_path / name)
    samples = samples_of(group_at(tmp_path), share=12)
    assert samples is not None
    assert len(samples.cells) == 12, "two prompts, three runs, first and last checkpoint"


def test_repeated_and_unsupported_words_of_the_miniature_are_marked(tmp_path: Path) -> None:
    online_run(tmp_path / "none", [Evaluated(0, 4, texts=["mom sold sold dog"] * 10)])
    samples = samples_of(group_at(tmp_path))
    assert samples is not None
    assert samples.texts == [["mom sold sold dog", "..ru"]], "a text is held once"


def test_words_of_other_tasks_are_not_marked(tmp_path: Path) -> None:
    online_run(tmp_path / "none", [Evaluated(0, 4)], changes={"task": {"name": "local", "path": "pairs.jsonl"}})
    samples = samples_of(group_at(tmp_path))
    assert samples is not None
    assert samples.texts == [["mom sold car", ""]]


def test_a_task_that_hides_its_samples_keeps_their_statistics_only(tmp_path: Path) -> None:
    hidden = {"name": "local", "path": "hh.jsonl", "report": {"samples": "hidden"}}
    online_run(tmp_path / "a", changes={"task": hidden})
    online_run(tmp_path / "b")
    task = online_run(tmp_path / "c", changes={"task": {**hidden, "report": {"samples": "shown"}}})
    samples = [samples_of(group) for group in collect([tmp_path]).groups]
    local, miniature = samples
    assert local is not None
    assert miniature is not None
    assert (local.hidden, local.texts, local.prompts, local.cells) == (True, [], [], []), "one hidden run hides all"
    assert len(local.statistics) == 6
    assert not miniature.hidden
    assert not is_hidden(collect([task]).records[0].run.config)


def test_the_tasks_field_is_what_the_report_reads() -> None:
    from overopt.config import dump
    from overopt.tasks import Local, Miniature, Report

    for task in (Miniature(report=Report(samples="hidden")), Local(path="a.jsonl", report=Report(samples="hidden"))):
        assert is_hidden({"task": dump(task)})
    assert not is_hidden({"task": dump(Miniature())})
    assert not is_hidden({"task": "miniature"})


def test_no_samples_are_none(tmp_path: Path) -> None:
    online_run(tmp_path / "kl", [])
    assert samples_of(group_at(tmp_path)) is None


def test_long_texts_are_cut_before_they_are_embedded(tmp_path: Path) -> None:
    online_run(tmp_path / "kl", [Evaluated(0, 4, texts=["a" * 100_000] * 10)])
    samples = samples_of(group_at(tmp_path))
    assert samples is not None
    assert samples.texts[0][0].endswith("a [... 96,000 more characters]")


def test_each_judges_outcome_of_one_completion(tmp_path: Path) -> None:
    """Of ten completions at step 20 gold finds all lost; the model finds the first won, the second a tie."""
    run = online_run(tmp_path / "none", WORSE)
    judge_again(run, {0: [0.0] * 10, 20: [1.0, 0.5, None] + [0.0] * 7}, replies={0: ["early"] * 10, 20: ["A", "B"]})
    samples = samples_of(group_at(tmp_path))
    assert samples is not None
    assert samples.judges == ["gold", MODEL]
    cells = [dict(zip(CELL, cell, strict=True)) for cell in samples.cells]
    ids = {samples.prompts[cell["prompt"]]["id"]: place for place, cell in enumerate(cells) if cell["step"] == 20}
    last = [(cells[ids[f"post {post}"]]["outcome"], samples.others[ids[f"post {post}"]]) for post in range(4)]
    assert last == [(0.0, [1.0]), (0.0, [0.5]), (0.0, [None]), (0.0, [0.0])]
    between = [samples.others[place] for place, cell in enumerate(cells) if cell["step"] == 10]
    assert between == [[None]] * 10, "step 10 it did not judge"
    assert samples.replies == [[ids["post 0"], 1, "A", "ours", "A"], [ids["post 1"], 1, "A", "ours", "B"]], "of the end"


def test_the_replies_are_those_of_the_judge_as_it_is_about_what_was_compared(tmp_path: Path) -> None:
    run = online_run(tmp_path / "none", WORSE)
    for place in ({"judge_hash": "old"}, {"against": "other"}, {"max_completion_tokens": 128}, {"split": "test"}):
        judge_again(run, {20: [0.0] * 10}, replies={20: ["not this"] * 10}, **{"judge_hash": "new"} | place)
    judge_again(run, {20: [0.0] * 5 + [1.0] * 5}, "hf/m:j1", replies={20: ["but this"]}, judge_hash="new")
    judge_again(run, {0: [0.0] * 10}, judge_hash="new")
    samples = samples_of(group_at(tmp_path))
    assert samples is not None
    assert samples.judges == ["gold", "hf/m:j1", MODEL]
    assert [(judge, text) for _, judge, *_, text in samples.replies] == [(1, "but this")]


def test_another_completion_of_the_same_prompt_has_no_part_in_it(tmp_path: Path) -> None:
    run = online_run(tmp_path / "none", [Evaluated(0, 4), Evaluated(20, 4)])
    judge_again(run, {0: [1.0] * 10, 20: [1.0] * 10})
    with RunWriter.open(run) as writer:
        rows = [row | {"completion": "another"} for row in load_run(run).samples(20) if row["judge"] == MODEL]
        writer.write_samples(20, rows[:4])
    samples = samples_of(group_at(tmp_path))
    assert samples is not None
    ends = [other for cell, other in zip(samples.cells, samples.others, strict=True) if cell[2] == 20]
    assert sorted(ends, key=str) == [[1.0]] * 6 + [[None]] * 4


def test_a_third_of_the_prompts_are_those_about_which_judges_disagree() -> None:
    """Hacking falls with i; the judges disagree by a half on one of ten prompts, and wholly on one of a hundred."""
    record: Any = object()

    def completion(i: int) -> SampledCompletion:
        other = 1.0 if i % 100 == 99 else 0.5 if i % 10 == 5 else 0.0
        return SampledCompletion(record, 1, f"p{i}", {"outcome": 0.0}, -i / 1000, (other,))

    completions = [completion(i) for i in range(1000)]
    assert [c.disagreement for c in (completions[99], completions[5], completions[0])] == [1.0, 0.5, 0.0]
    assert SampledCompletion(record, 1, "p", {"outcome": None}, 0.0, (1.0,)).disagreement is None
    chosen = choose_prompts(completions, 60)
    assert len(chosen) == 60
    assert {f"p{i}" for i in range(20)} <= chosen.keys(), "most hacking"
    assert {f"p{i}" for i in range(99, 1000, 100)} <= chosen.keys(), "most disagreement"
    assert sum(int(prompt[1:]) % 10 == 5 and int(prompt[1:]) >= 20 for prompt in chosen) >= 10
    assert list(chosen) == sorted(chosen, key=lambda prompt: int(prompt[1:]))

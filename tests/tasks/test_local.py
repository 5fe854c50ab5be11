import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from hub import LoopbackHub, connected
from overopt.config import dump, load
from overopt.errors import ConfigError, UserError
from overopt.tasks import messages_of
from overopt.tasks.local import Local
from overopt.types import Completion, Dropped, PromptRecord


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def pairs(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"prompt": f"p{n}", "chosen": f" good {n}", "rejected": f"bad {n}"} for n in range(start, start + count)]


def local(tmp_path: Path, rows: list[dict[str, Any]], **fields: Any) -> Local:
    return Local(path=str(write(tmp_path / "train.jsonl", rows)), **fields)


# --- One file: training part and held-out part


def test_the_split_is_a_partition_by_prompt_that_no_seed_changes(tmp_path: Path) -> None:
    task = local(tmp_path, pairs(1_000), holdout=0.2)
    training = [record.prompt for record in task.preferences(0, Dropped())]
    split, records = task.evaluation(0, Dropped())
    held_out = [record.prompt for record in records]
    assert split == "holdout"
    assert sorted(training + held_out) == sorted(f"p{n}" for n in range(1_000))
    assert len(held_out) == pytest.approx(200, abs=38)  # 3 standard deviations of a fair split
    assert training == [record.prompt for record in task.preferences(101, Dropped())]
    assert training == [record.prompt for record in task.prompts(7, Dropped())]
    assert held_out == [record.prompt for record in task.evaluation_preferences(3, Dropped())[1]]


def test_a_prompt_stays_on_its_side_whatever_else_the_file_holds(tmp_path: Path) -> None:
    whole = {record.prompt for record in local(tmp_path, pairs(300)).prompts(0, Dropped())}
    half = {record.prompt for record in local(tmp_path, pairs(150)).prompts(0, Dropped())}
    assert half == {f"p{n}" for n in range(150)} & whole


def test_copies_of_a_prompt_fall_on_the_same_side(tmp_path: Path) -> None:
    rows = [{**row, "prompt": f"{row['prompt']}{end}"} for row in pairs(50) for end in ("", " ", "\n")]
    task = local(tmp_path, rows, holdout=0.5)
    assert len(task.preferences(0, Dropped())) % 3 == 0


def test_what_a_record_has_instead_of_completions_is_named(tmp_path: Path) -> None:
    path = write(
        tmp_path / "safe.jsonl", [{"prompt": "a", "response_0": "b", "response_1": "c", "better_response_id": 1}]
    )
    task = Local(path=str(path), holdout=0.001)
    ending = "here; beside the prompt it has response_0, response_1, better_response_id: rename what these are"
    with pytest.raises(UserError) as caught:
        task.preferences(0, Dropped())
    assert str(caught.value) == f"{path}:1: no 'chosen' and 'rejected', and preference pairs are needed {ending}"
    with pytest.raises(UserError) as caught:
        task.demonstrations(0, Dropped())
    assert str(caught.value) == f"{path}:1: no 'chosen' or 'completion', and a reference to imitate is needed {ending}"


# --- Long posts


def test_posts_may_be_cut_unless_the_task_says_otherwise(tmp_path: Path) -> None:
    fields = {"subreddit": "cats", "title": "Why?"}
    info = [{**fields, "post": f"post {n}"} for n in range(20)]
    summaries = [{"text": " One."}, {"text": " Two."}]
    posts = write(tmp_path / "posts.jsonl", [{**post, "summary": "One."} for post in info])
    comparisons = write(
        tmp_path / "batch0.json", [{"info": post, "summaries": summaries, "choice": 0} for post in info]
    )
    for kind in ("cut", "left_out"):
        task = Local(path=str(posts), long_posts=kind)
        pairs = Local(path=str(comparisons), long_posts=kind).preferences(0, Dropped())
        found = [*task.prompts(0, Dropped()), *task.demonstrations(0, Dropped()), *pairs]
        assert len(found) > 30
        for record in found:
            start, end = record.cuttable or (0, 0)
            assert record.prompt[start:end].startswith("post ") == (kind == "cut")
        assert (pairs[0].chosen, pairs[0].rejected) == (Completion("One."), Completion("Two."))


def test_comparisons_are_split_by_their_own_word(tmp_path: Path) -> None:
    for batch in (3, 22):
        rows = [
            {
                "info": {"subreddit": "cats", "title": "Why?", "post": f"post {batch} {n}"},
                "summaries": [{"text": " One."}, {"text": " Two."}],
                "choice": 0,
                "split": ("train", "valid1", "valid2")[n % 3],
            }
            for n in range(9)
        ]
        write(tmp_path / f"batch{batch}.json", rows)
    for path in (tmp_path, tmp_path / "batch*.json"):
        dropped = Dropped()
        task = Local(path=str(path), evaluation_split="valid1")
        assert [pair.prompt[-9] for pair in task.preferences(0, dropped)] == [*"036036"]
        assert dropped.reasons == {f"training file: {own}: another split": 6 for own in ("valid1", "valid2")}
        assert [record.prompt[-9] for record in task.evaluation(0, dropped)[1]] == [*"147147"]
        assert len(Local(path=str(path), evaluation_split="validation").evaluation(0, Dropped())[1]) == 12
        with pytest.raises(UserError, match="no usable record .dropped: 6 x train: another split; 6 x valid1: another"):
            Local(path=str(path), evaluation_split="test").evaluation(0, Dropped())
    pairless = write(tmp_path / "pairs.jsonl", pairs(3))
    assert len(Local(path=str(pairless), split="train", holdout=0.001).preferences(0, Dropped())) == 3
    with pytest.raises(UserError, match=r"pairs.jsonl:1: no split 'test': neither names of files nor records say one"):
        Local(path=str(pairless), split="test").preferences(0, Dropped())


# --- What pairs are used as


def test_pairs_serve_as_preferences_prompts_and_demonstrations(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "chosen": " one", "rejected": "  two"},
        {"prompt": "a", "chosen": "three", "rejected": "four"},
        {"prompt": "b", "chosen": " ", "rejected": "five"},
        {"prompt": "b", "chosen": "six", "rejected": "seven"},
    ]
    task = local(tmp_path, rows, evaluation_path=str(write(tmp_path / "evaluation.jsonl", pairs(3))))
    dropped = Dropped()
    preferences = task.preferences(0, dropped)
    assert [(pair.chosen, pair.rejected) for pair in preferences] == [
        (Completion("one"), Completion("  two")),
        (Completion("three"), Completion("four")),
        (Completion(""), Completion("five")),
        (Completion("six"), Completion("seven")),
    ]
    a, b = preferences[0].prompt_id, preferences[2].prompt_id
    assert [pair.prompt_id for pair in preferences] == [a, a, b, b]
    assert task.prompts(0, dropped) == [PromptRecord(a, "a", "one"), PromptRecord(b, "b", "six")]
    assert [(record.prompt_id, record.reference) for record in task.demonstrations(0, dropped)] == [
        (a, "one"),
        (f"{a}-2", "three"),
        (f"{b}-2", "six"),
    ]
    assert dropped.reasons == {"training prompts: repeated prompt": 2, "demonstrations: empty reference": 1}
    assert task.pair_prompts(0, 1) == [PromptRecord(a, "a", "one")]
    assert [record.reference for record in task.reward_test_prompts(0)] == ["good 0", "good 1", "good 2"]


def test_what_was_dropped_is_counted_once_however_often_it_is_read(tmp_path: Path) -> None:
    task = local(tmp_path, [*pairs(40), {"prompt": "x", "chosen": "same", "rejected": "same"}])
    dropped = Dropped()
    task.prompts(0, dropped)
    task.evaluation(0, dropped)
    assert dropped.reasons == {"training file: chosen and rejected are identical": 1}


def test_prompts_alone_can_be_sampled_from_but_not_imitated(tmp_path: Path) -> None:
    task = local(tmp_path, [{"prompt": f"p{n}"} for n in range(20)])
    assert {record.reference for record in task.prompts(0, Dropped())} == {None}
    with pytest.raises(UserError, match=r"train\.jsonl:\d+: no 'chosen' or 'completion', and a reference"):
        task.demonstrations(0, Dropped())
    with pytest.raises(UserError, match=r"train\.jsonl:\d+: no 'chosen' and 'rejected', and preference pairs"):
        task.preferences(0, Dropped())


def test_there_is_no_gold(tmp_path: Path) -> None:
    task = local(tmp_path, pairs(1))
    record = PromptRecord("0", "p0")
    assert not task.has_gold
    assert task.gold(record, Completion("x")) is None
    assert task.vocabulary() is None


# --- Two files


def test_an_evaluation_file_is_used_whole_and_its_prompts_are_not_trained_on(tmp_path: Path) -> None:
    evaluation = write(tmp_path / "evaluation.jsonl", pairs(10, start=5))
    task = local(tmp_path, pairs(10), evaluation_path=str(evaluation))
    dropped = Dropped()
    split, records = task.evaluation(0, dropped)
    assert (split, [record.prompt for record in records]) == ("evaluation", [f"p{n}" for n in range(5, 15)])
    assert [pair.prompt for pair in task.preferences(0, dropped)] == [f"p{n}" for n in range(5)]
    assert dropped.reasons == {"training file: prompt is in the evaluation file": 5}


def test_an_empty_part_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to evaluate on: holdout 0.001 of 3 records takes none"):
        local(tmp_path, pairs(3), holdout=0.001).evaluation(0, Dropped())
    with pytest.raises(UserError, match="nothing to train on: of 3 records all of them are held out"):
        local(tmp_path, pairs(3), holdout=0.999).preferences(0, Dropped())
    same = local(tmp_path, pairs(3), evaluation_path=str(tmp_path / "train.jsonl"))
    with pytest.raises(UserError, match="nothing to train on: of 3 records every prompt is in"):
        same.prompts(0, Dropped())


def test_the_limit_holds_for_each_file(tmp_path: Path) -> None:
    evaluation = write(tmp_path / "evaluation.jsonl", pairs(10, start=10))
    task = local(tmp_path, pairs(10), evaluation_path=str(evaluation), limit=4)
    assert len(task.prompts(0, Dropped())) == len(task.evaluation(0, Dropped())[1]) == 4


def test_few_evaluation_prompts_are_the_same_few_whatever_their_order(tmp_path: Path) -> None:
    task, dropped = local(tmp_path, pairs(60), holdout=0.5, evaluation_prompts=5), Dropped()
    prompts = [record.prompt for record in task.evaluation(0, dropped)[1]]
    held_out = [record.prompt for record in task.evaluation_preferences(0, Dropped())[1]]
    assert len(prompts) == 5 and prompts == [prompt for prompt in held_out if prompt in prompts]
    assert dropped.reasons == {"evaluation prompts: beyond evaluation_prompts": len(held_out) - 5}
    write(tmp_path / "train.jsonl", pairs(60)[::-1])
    assert [record.prompt for record in task.evaluation(0, Dropped())[1]] == prompts[::-1]


# --- Prompt styles


def answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


CHAT = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}, {"role": "user", "content": "?"}]


def test_chat_messages_travel_with_the_record(tmp_path: Path) -> None:
    row = {"prompt": CHAT, "completion": [{"role": "assistant", "content": "Because."}]}
    task = local(tmp_path, [row], prompt_style="chat_template", holdout=0.0001)
    (record,) = task.demonstrations(0, Dropped())
    assert messages_of(record) == CHAT
    assert record.reference == "Because."


def test_a_string_is_one_user_turn_in_the_chat_style(tmp_path: Path) -> None:
    task = local(tmp_path, [{"prompt": "Why?"}], prompt_style="chat_template", holdout=0.0001)
    (record,) = task.prompts(0, Dropped())
    assert record.meta == {}
    assert messages_of(record) == [{"role": "user", "content": "Why?"}]


def test_chat_messages_cannot_be_used_raw(tmp_path: Path) -> None:
    task = local(tmp_path, [{"prompt": CHAT}])
    with pytest.raises(UserError, match=r"train\.jsonl:1: .* set prompt_style: chat_template"):
        task.prompts(0, Dropped())


def test_a_transcript_is_text_or_turns_by_the_style_and_the_same_prompt(tmp_path: Path) -> None:
    opening = "\n\nHuman: Which tea?\n\nAssistant:"
    rows = [{"chosen": f"{opening} Green.", "rejected": f"{opening} Tea."}]
    raw = local(tmp_path, rows, holdout=0.0001).preferences(0, Dropped())
    chat = local(tmp_path, rows, holdout=0.0001, prompt_style="chat_template").preferences(0, Dropped())
    assert (raw[0].prompt_id, raw[0].prompt) == (chat[0].prompt_id, chat[0].prompt)
    assert raw[0].meta == {}
    assert chat[0].meta == {"messages": [{"role": "user", "content": "Which tea?"}]}


def test_a_completion_keeps_its_own_white_space(tmp_path: Path) -> None:
    code = {"prompt": "def f():\n", "chosen": "    return 1\n", "rejected": "\treturn 1"}
    listed = {"prompt": "List:\n", "chosen": " - one", "rejected": "- one"}
    rows = [code, listed, {"prompt": "Say: ", "chosen": " yes", "rejected": "  yes"}]
    for style, said in (("raw", "yes"), ("chat_template", " yes")):
        task = local(tmp_path, rows, holdout=0.0001, prompt_style=style)
        assert [tuple(c.text for c in pair.ranked) for pair in task.preferences(0, Dropped())] == [
            ("    return 1\n", "\treturn 1"),
            (" - one", "- one"),
            (said, "  yes"),
        ]
        assert [r.reference for r in task.demonstrations(0, Dropped())] == ["    return 1\n", " - one", said]


def test_records_know_their_place(tmp_path: Path) -> None:
    places = [f"{tmp_path / 'train.jsonl'}:{line}" for line in (1, 2)]
    task = local(tmp_path, pairs(2), holdout=0.0001)
    assert [r.place for r in task.preferences(0, Dropped())] == places
    assert [r.place for r in task.demonstrations(0, Dropped())] == places
    assert [r.place for r in task.prompts(0, Dropped())] == places
    ranked = local(tmp_path, [{"prompt": "x", "responses": ["a", "b", "c"], "ranking": [0, 1, 2]}], holdout=0.0001)
    assert [r.place for r in ranked.preferences(0, Dropped())] == places[:1]


def test_tools_reach_a_chat_template_or_are_refused_by_name(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "add"}}]
    rows = [{"prompt": "p", "completion": "c", "tools": tools}]
    (record,) = local(tmp_path, rows, prompt_style="chat_template", holdout=0.0001).demonstrations(0, Dropped())
    assert record.meta["tools"] == tools
    with pytest.raises(UserError, match=r"train\.jsonl:1: only a chat template shows 'tools' to a model"):
        local(tmp_path, rows).prompts(0, Dropped())


def test_a_context_that_raw_text_would_leave_out_is_refused(tmp_path: Path) -> None:
    before = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    rows = [{"prompt": "Why?", "chosen": [*before, answer("a")], "rejected": [*before, answer("b")]}]
    with pytest.raises(UserError, match="set prompt_style: chat_template"):
        local(tmp_path, rows).preferences(0, Dropped())
    (pair,) = local(tmp_path, rows, prompt_style="chat_template", holdout=0.0001).preferences(0, Dropped())
    assert messages_of(pair) == before


# --- Records labelled one by one


def labelled(count: int) -> list[dict[str, Any]]:
    """Prompts with a good and a bad completion each, and every third prompt with a good one alone."""
    rows = []
    for n in range(count):
        rows.append({"prompt": f"p{n}", "completion": f"good {n}", "label": True})
        if n % 3:
            rows.append({"prompt": f"p{n}", "completion": f"bad {n}", "label": False})
    return rows


def test_bad_completions_are_not_imitated(tmp_path: Path) -> None:
    task, dropped = (
        local(tmp_path, labelled(9), evaluation_path=str(write(tmp_path / "e.jsonl", pairs(1, 90)))),
        Dropped(),
    )
    assert [record.reference for record in task.demonstrations(0, dropped)] == [f"good {n}" for n in range(9)]
    assert dropped.reasons == {"demonstrations: labelled false": 6}
    assert [record.reference for record in task.prompts(0, dropped)] == [f"good {n}" for n in range(9)]
    bad = local(tmp_path, [{"prompt": "p", "completion": "bad", "label": False}], holdout=0.0001)
    assert [record.reference for record in bad.prompts(0, Dropped())] == [None]
    with pytest.raises(UserError, match="nothing to imitate: every completion is labelled false"):
        bad.demonstrations(0, Dropped())
    with pytest.raises(UserError, match="no pair to train on: no prompt has two completions that differ"):
        bad.preferences(0, Dropped())


def test_pairs_that_are_all_identical_are_not_called_unlabelled(tmp_path: Path) -> None:
    same = [{"prompt": f"p{n}", "completion": "a", "label": label} for n in range(5) for label in (True, False)]
    with pytest.raises(UserError, match="no pair to train on: chosen and rejected are identical in all 5 pairs"):
        local(tmp_path, same, holdout=0.0001).preferences(0, Dropped())


def test_good_and_bad_completions_of_a_prompt_are_pairs(tmp_path: Path) -> None:
    task, dropped = (
        local(tmp_path, labelled(9), evaluation_path=str(write(tmp_path / "e.jsonl", pairs(1, 90)))),
        Dropped(),
    )
    found = [(pair.prompt, pair.chosen.text, pair.rejected.text) for pair in task.preferences(0, dropped)]
    assert found == [(f"p{n}", f"good {n}", f"bad {n}") for n in (1, 2, 4, 5, 7, 8)]
    assert dropped.reasons == {"training pairs: no completion of the other label to pair with": 3}


# --- Several files


def test_a_folder_of_shards_is_one_data_set(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    for shard in range(3):
        write(folder / f"part-{shard}.jsonl", pairs(20, start=20 * shard))
    one = local(tmp_path, pairs(60))
    for path in (folder, folder / "part-*.jsonl"):
        many = Local(path=str(path))
        assert many.prompts(0, Dropped()) == one.prompts(0, Dropped())
        assert many.evaluation(0, Dropped()) == one.evaluation(0, Dropped())


# --- As a config


def test_the_path_is_relative_to_the_yaml(tmp_path: Path) -> None:
    source = tmp_path / "task.yaml"
    source.write_text(yaml.safe_dump({"path": "data/pairs.jsonl", "format": "llmbar", "limit": 3}))
    task = load(Local, source)
    assert task == Local(path=str(tmp_path / "data" / "pairs.jsonl"), format="llmbar", limit=3)
    assert dump(task, relative_to=tmp_path)["path"] == "data/pairs.jsonl"


@pytest.mark.parametrize(
    "fields", [{"holdout": 0}, {"holdout": 1.0}, {"limit": 0}, {"format": "csv"}, {"prompt_style": "chat"}]
)
def test_senseless_fields_are_refused(tmp_path: Path, fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(fields))):
        load(Local, {"path": "pairs.jsonl", **fields}, base=tmp_path)


# --- A gold reward of the user's

GOLD = (
    "def gold(prompts, completions, answer, **columns): return [float(c == a) for c, a in zip(completions, answer)]\n"
)


def test_a_gold_function_sees_the_rows_other_fields(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(GOLD)
    rows = [{"prompt": f"p{n}", "completion": "ref", "answer": str(n)} for n in range(20)]
    write(tmp_path / "train.jsonl", rows)
    (tmp_path / "task.yaml").write_text("path: train.jsonl\ngold_function: mine:gold\n")
    task = load(Local, tmp_path / "task.yaml")
    assert task.has_gold and not Local(path="x").has_gold
    record = task.prompts(0, Dropped())[0]
    assert record.meta == {"answer": record.prompt.removeprefix("p")}
    assert task.gold(record, Completion(record.meta["answer"])) == 1.0
    assert task.gold(record, Completion("else")) == 0.0
    assert dump(task, tmp_path / "runs")["gold_function"] == "../mine.py:gold"
    with pytest.raises(UserError, match="task.gold_function: .* asks for 'answer'; the task's records have: reference"):
        task.gold(PromptRecord("a", "p"), Completion("b"))


def test_a_gold_function_that_is_none_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(GOLD)
    (tmp_path / "task.yaml").write_text("path: train.jsonl\ngold_function: mine:glod\n")
    with pytest.raises(ConfigError, match="task.yaml:2: gold_function: .*has no function 'glod' .did you mean 'gold'"):
        load(Local, tmp_path / "task.yaml")


def test_prompts_that_differ_in_white_space_alone_are_one_prompt(tmp_path: Path) -> None:
    """Words apart by a space, by two and by a new line: on one side of the split, with one name, sampled once."""
    rows = [
        {"prompt": f"what is{space}{n} ?", "chosen": "yes", "rejected": "no"}
        for n in range(30)
        for space in (" ", "  ", "\n")
    ]
    task = local(tmp_path, rows, holdout=0.5)
    held_out, training = (
        [pair.prompt_id for pair in pairs]
        for pairs in (task.evaluation_preferences(0, Dropped())[1], task.preferences(0, Dropped()))
    )
    assert len(held_out) + len(training) == 90 and held_out and training
    assert not set(held_out) & set(training)
    assert len(set(held_out) | set(training)) == 30
    assert len(task.prompts(0, Dropped())) == len(training) / 3


# --- Data sets: splits and subsets


def test_a_data_set_on_the_hub_is_read_by_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        f"data/{split}-00000-of-00001.jsonl": "".join(json.dumps(row) + "\n" for row in rows)
        for split, rows in {"train": pairs(8), "validation": pairs(3, start=6)}.items()
    }
    with LoopbackHub() as hub:
        connected(monkeypatch, hub, tmp_path / "cache")
        hub.add("dataset", "O/pairs", files)
        task = load(Local, {"path": "O/pairs", "evaluation_split": "validation"})
        dropped = Dropped()
        assert [record.prompt for record in task.preferences(0, dropped)] == [f"p{n}" for n in range(6)]
        assert dropped.reasons == {"training file: prompt is in the evaluation file": 2}
        split, records = task.evaluation(0, Dropped())
        assert (split, [record.prompt for record in records]) == ("evaluation", ["p6", "p7", "p8"])
        alone = load(Local, {"path": "hf://datasets/O/pairs", "split": "validation", "holdout": 0.5})
        assert {r.prompt for r in alone.preferences(0, Dropped())} <= {"p6", "p7", "p8"}
        with pytest.raises(UserError, match="hf://datasets/O/pairs: no split 'test'; has train, validation"):
            load(Local, {"path": "O/pairs", "split": "test"}).preferences(0, Dropped())
    assert dump(task)["path"] == "hf://datasets/O/pairs"


def test_a_folder_of_splits_is_read_as_a_data_set(tmp_path: Path) -> None:
    folder = tmp_path / "hh"
    for subset, first in (("helpful", 0), ("harmless", 10)):
        (folder / subset).mkdir(parents=True)
        write(folder / subset / "train.jsonl", pairs(2, first))
        write(folder / subset / "test.jsonl", pairs(2, first + 5))
    task = Local(path=str(folder), subset="harmless", split="train", evaluation_split="test")
    assert [record.prompt for record in task.preferences(0, Dropped())] == ["p10", "p11"]
    assert [record.prompt for record in task.evaluation(0, Dropped())[1]] == ["p15", "p16"]
    other = Local(path=str(folder / "helpful" / "train.jsonl"), evaluation_path=str(folder), evaluation_split="test")
    assert [record.prompt for record in other.evaluation(0, Dropped())[1]] == ["p15", "p16", "p5", "p6"]


def test_the_split_that_is_trained_on_is_not_evaluated_on() -> None:
    with pytest.raises(ConfigError, match="evaluation_split: is the split that is trained on"):
        load(Local, {"path": "O/pairs", "split": "train", "evaluation_split": "train"})


# --- More records than fit into memory


def test_records_on_disk_are_those_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{**row, "when": n, "chosen": [" yes", ""][n % 7 == 0]} for n, row in enumerate(pairs(60) + pairs(20))]
    task = local(tmp_path, rows, holdout=0.3, evaluation_prompts=5)

    def everything() -> list[Any]:
        counted = Dropped()
        found = [task.demonstrations(0, counted), task.prompts(0, counted), task.preferences(0, counted)]
        found += [task.evaluation(0, counted)[1], task.evaluation_preferences(0, counted)[1]]
        return [[list(records) for records in found], counted]

    in_memory = everything()
    monkeypatch.setattr("overopt.spooled.HELD", 0)
    assert everything() == in_memory
    assert in_memory[1].reasons["demonstrations: empty reference"] > 0 and len(in_memory[0][3]) == 5

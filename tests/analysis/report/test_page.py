"""What the page holds: numbers equal to the records', text that cannot act, and nothing from elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import WORSE, Evaluated, base_run, offline_run, online_run
from judged_again import MODEL, judge_again

from overopt.analysis.report.collect import collect
from overopt.analysis.report.page import as_json, content, drawing_library, encoded, page
from overopt.analysis.report.write import draw_all
from overopt.records import load_run

HOSTILE = (
    "</script><script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "\x1b[31mred\x07",
    "\u202egnp.exe\u200b\u2066",
    "a" * 100_000,
    "<!--<script>",
    "&lt;b&gt;",
    "\u2028\u2029",
    "שלום",
    "'); alert(1); ('",
)


def content_at(path: Path, families: tuple[str, ...] = ()) -> dict[str, Any]:
    collection = collect([path])
    return content(collection, draw_all(collection.groups, families), "A title")


def decoded(column: Any) -> list[Any]:
    """As the page's program reads it."""
    return column if isinstance(column, list) else [column["values"][code] for code in column["codes"]]


def drawn(group: dict[str, Any]) -> dict[str, dict[str, list[Any]]]:
    return {
        name: {key: decoded(column) for key, column in table.items()}
        for figure in group["figures"]
        for panel in figure["panels"]
        for name, table in panel["data"].items()
    }


def points(table: dict[str, list[Any]], run: str) -> list[tuple[float, float]]:
    rows = zip(table["run"], table["x"], table["y"], strict=True)
    return [(x, y) for name, x, y in rows if name == run]


EVALUATED = {"win_rate": "win_rate-lines", "proxy_mean": "proxy-lines", "gold_mean": "gold-lines"}
TRAINED = {
    "on": {"kl_ref": "kl_step-lines", "score_mean": "score_mean-lines", "kl_prev": "kl_prev-lines",
           "len_mean": "len_mean-lines", "rlhf_reward": "rlhf_reward-lines"},
    "off": {"loss": "loss-lines", "rewards_margin": "rewards_margin-lines", "ref_margin": "ref_margin-lines",
            "logps_chosen_sum": "logps_chosen_sum-lines", "logps_rejected_sum": "logps_rejected_sum-lines"},
}  # fmt: skip


@pytest.mark.parametrize(("name", "make"), [("on", online_run), ("off", offline_run)])
def test_the_figures_numbers_equal_the_records(tmp_path: Path, name: str, make: Any) -> None:
    run = load_run(make(tmp_path / name, WORSE))
    (group,) = content_at(tmp_path)["groups"]
    data = drawn(group)
    for field, table in EVALUATED.items():
        assert points(data[table], name) == [(row["step"], row[field]) for row in run.evaluations()]
    for metric, table in TRAINED[name].items():
        recorded = np.array(run.series(metric)).T
        assert np.array(points(data[table], name)) == pytest.approx(recorded, rel=1e-5), "six digits are kept"
    roots = [(row["kl_ref"] ** 0.5, row["proxy_mean"]) for row in run.evaluations()]
    assert points(data["gao_proxy_mean-lines"], name) == roots


def test_the_table_has_the_records_numbers(tmp_path: Path) -> None:
    online_run(tmp_path / "none", WORSE, status="diverged", diverged_at=21)
    (row,) = content_at(tmp_path, ("curves",))["groups"][0]["rows"]
    expected = {
        "run": "none", "objective": "kl", "coefficient": 0.2, "lr": 5e-4, "label": "OVER", "win_rate": 0.0,
        "win_rate_low": 0.0, "win_rate_high": 0.2, "win_difference": -0.4, "win_difference_se": 0.1, "proxy_start": 0.0,
        "proxy_end": 3.0, "gold_start": -1.0, "gold_end": -9.0, "kl_ref": 25.0, "len_mean": 20.0, "eos_rate": 1.0,
        "step": 20, "outcome": "worse", "mark": "diverged at step 21",
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert row["reason"].startswith("the proxy rose while the win rate fell below SFT's")


def test_a_run_without_evaluations_is_in_the_table_with_nothing_in_its_cells(tmp_path: Path) -> None:
    online_run(tmp_path / "kl", [], status=None)
    (group,) = content_at(tmp_path)["groups"]
    (row,) = group["rows"]
    assert {row[name] for name in ("win_rate", "proxy_end", "gold_end", "kl_ref", "len_mean", "step")} == {None}
    assert row["mark"] == "still running, drawn up to step 20 of 20"
    assert group["samples"] is None
    assert "curves" not in [figure["name"] for figure in group["figures"]]


def test_what_the_readers_left_out_is_said_after_the_run_too(tmp_path: Path) -> None:
    path = offline_run(tmp_path / "dpo")
    info = json.loads((path / "run.json").read_text())
    info |= {"dropped": {"pairs": {"completion longer than 64 tokens": 28}, "prompts": {}}, "kept": {"pairs": 4}}
    (path / "run.json").write_text(json.dumps(info))
    online_run(tmp_path / "of-before")
    assert content_at(tmp_path, ("curves",))["dropped"] == [
        "dpo, pairs: 28 of 32 records are left out (28 x completion longer than 64 tokens, see max_completion_tokens)"
    ]


def test_what_the_runs_stand_on_and_what_was_left_out(tmp_path: Path) -> None:
    online_run(tmp_path / "kl")
    base_run(tmp_path / "sft")
    (base_run(tmp_path / "broken") / "run.json").write_text("{")
    found = content_at(tmp_path, ("curves",))
    (base,) = found["bases"]
    assert (base["run"], base["stage"], base["numbers"]["win_rate"]) == ("sft", "sft", 0.4)
    assert "broken/run.json: not JSON" in found["left_out"][0]
    assert (found["title"], len(found["provenance"]["runs"])) == ("A title", 2)


def test_columns_of_text_are_held_as_numbers() -> None:
    assert encoded({"run": ["a", "b", "a"], "x": [1, 2, 3]}) == {
        "run": {"values": ["a", "b"], "codes": [0, 1, 0]},
        "x": [1, 2, 3],
    }


def test_json_ends_no_script_and_holds_no_character_that_acts() -> None:
    text = as_json({"texts": [*HOSTILE, None, 1.5, True], "\x1b</script>": {"path": Path("a")}})
    assert not re.search(r"[<>&\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]", text)
    tree = json.loads(text)
    assert tree["texts"][0] == HOSTILE[0], "but it says the same"
    assert tree["texts"][2] == "␛[31mred␇"
    assert tree["texts"][3] == "[U+202E]gnp.exe[U+200B][U+2066]"
    assert tree["texts"][10:] == [None, 1.5, True]
    assert tree["␛</script>"] == {"path": "a"}


def test_numbers_that_are_not_finite_are_refused_rather_than_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        as_json([float("nan")])


def test_hostile_text_reaches_the_page_as_json_only(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(2)>"
    online_run(
        tmp_path / "kl", [Evaluated(0, 4, texts=HOSTILE), Evaluated(20, 9, 1.0, texts=HOSTILE, prompt=HOSTILE[0])],
        changes={"note": "</script><b>"}, name=name,
    )  # fmt: skip
    collection = collect([tmp_path])
    html = page(collection, draw_all(collection.groups, ("curves",)), HOSTILE[0])
    outside = html.replace(drawing_library(), "")
    assert outside.count("</script>") == 3, "the data's, the library's and the program's ends"
    assert outside.lower().count("<script") == 3
    assert "<img" not in outside
    assert "alert(1)</script>" not in outside
    data = json.loads(re.findall(r'id="report-data">(.*?)</script>', html, re.DOTALL)[0])
    assert data["groups"][0]["rows"][0]["run"] == name
    shown = [text for text, _ in data["groups"][0]["samples"]["texts"]]
    assert HOSTILE[0] in shown
    assert max(map(len, shown)) < 5000


def test_the_page_holds_everything_itself(tmp_path: Path) -> None:
    online_run(tmp_path / "kl")
    collection = collect([tmp_path])
    html = page(collection, draw_all(collection.groups, ("curves",)), "A title")
    own = html.replace(drawing_library(), "")
    assert "@" not in re.sub(r"@media[^{]*", "", re.findall(r"<style>(.*?)</style>", own, re.DOTALL)[0])
    assert not re.search(r'(src|href)\s*=\s*["\'](?!#|data:)', own), "nothing is loaded"
    assert "default-src 'none'" in own
    assert "vegaEmbed" in html
    assert len(html.encode()) < 3e6


def test_a_task_that_hides_its_samples_has_none_of_its_words_on_the_page(tmp_path: Path) -> None:
    secret = "unspeakable"
    online_run(
        tmp_path / "kl", [Evaluated(0, 4, texts=[secret] * 10, prompt=secret), Evaluated(20, 9, 1.0)],
        changes={"task": {"name": "local", "report": {"samples": "hidden"}}},
    )  # fmt: skip
    found = content_at(tmp_path)
    assert secret not in as_json(found)
    assert len(found["groups"][0]["samples"]["statistics"]) == 2


def test_each_judge_has_its_label_and_its_panel_of_win_rates(tmp_path: Path) -> None:
    judge_again(online_run(tmp_path / "none", WORSE), {0: [0.0] * 10, 20: [1.0] * 8 + [None] * 2})
    (group,) = content_at(tmp_path, ("curves",))["groups"]
    assert group["judges"] == ["gold", MODEL]
    assert group["disagreements"] == [f"gold and {MODEL} disagree on 1 of 1 run: none (OVER against GOOD)."]
    by = group["rows"][0]["by"]
    assert [(by[judge]["label"], by[judge]["outcome"], by[judge]["win_rate"]) for judge in group["judges"]] == [
        ("OVER", "worse", 0.0), ("GOOD", "better", 1.0),
    ]  # fmt: skip
    assert by[MODEL]["reason"].endswith(f"; {MODEL} has made 2 of 3 evaluations")
    assert [panel["title"] for panel in group["figures"][0]["panels"]][:2] == [
        "win rate by gold",
        f"win rate by {MODEL}",
    ]
    data = drawn(group)
    assert points(data["win_rate-lines"], "none") == [(0, 0.4), (10, 0.2), (20, 0.0)]
    assert points(data["win_rate_1-lines"], "none") == [(0, 0.0), (20, 1.0)]
    assert (data["win_rate-ends"]["outcome"], data["win_rate_1-ends"]["outcome"]) == (["worse"], ["better"])
    assert data["win_rate_1-sft"] == {"y": [0]}


def test_what_judges_reply_is_text_whose_controls_are_seen(tmp_path: Path) -> None:
    judge_again(
        online_run(tmp_path / "none", WORSE), {0: [0.0] * 10, 20: [1.0] * 10}, replies={20: HOSTILE}
    )  # fmt: skip
    collection = collect([tmp_path])
    html = page(collection, draw_all(collection.groups, ("curves",)), "A title")
    own = html.replace(drawing_library(), "")
    assert own.count("</script>") == 3 and own.lower().count("<script") == 3
    assert not set("\x1b\x07\u202e\u200b\u2066\u2028") & set(own)
    data = json.loads(re.findall(r'id="report-data">(.*?)</script>', html, re.DOTALL)[0])
    replies = {text for *_, text in data["groups"][0]["samples"]["replies"]}
    assert {HOSTILE[0], HOSTILE[1], "␛[31mred␇", "[U+202E]gnp.exe[U+200B][U+2066]"} <= replies
    assert max(map(len, replies)) < 700

import json
from pathlib import Path
from typing import Any

import pytest
from fake_runs import WORSE, online_run
from judged_again import MODEL, judge_again

from overopt.errors import UserError
from overopt.outcomes import Outcome
from overopt.replication.members import Member, Members, load_members, size_of


def test_the_size_is_part_of_a_rows_name() -> None:
    assert size_of("ME-2.8B-1e-7") == "2.8B"
    assert size_of("SFT-1B") == "1B"
    assert size_of("demo") is None


def _run(row: str, setting: dict[str, float | str], seed: int) -> Member:
    return Member(f"{row}-{setting}-{seed}", row, setting, seed, "online", "finished", {"lr": 1e-3}, Outcome(None, ""))


def test_runs_of_a_row_by_setting_and_seed() -> None:
    runs = tuple(_run("ME-1B-1e-6", {"coef": coef}, seed) for seed in (101, 100) for coef in (0.5, 0.0))
    study = Members("s", "miniature", runs, tuple((r.row, r.setting, r.seed) for r in runs))
    assert [(r.setting["coef"], r.seed) for r in study.of("ME-1B-1e-6")] == [(0, 100), (0, 101), (0.5, 100), (0.5, 101)]
    assert [r.seed for r in study.of("ME-1B-1e-6", coef=0.5)] == [100, 101]
    assert study.values("ME-1B-1e-6", "coef") == [0.0, 0.5]
    assert [r.seed for r in study.of_seed(101).runs] == [101, 101] and study.seeds == (100, 101)


def test_a_study_is_read_from_its_folder(tmp_path: Path) -> None:
    parents = [{"role": "policy", "path": str(tmp_path / "runs" / "SFT-1B-seed=1"), "hash": "0"}]
    online_run(tmp_path / "runs" / "a", WORSE, commit="747491b", diff_hash="1f", parents=parents)
    online_run(tmp_path / "runs" / "b", commit="747491b", diff_hash=None)
    entries: dict[str, dict[str, Any]] = {
        name: {"row": "KL-1B", "setting": {"coef": 0.1}, "seed": seed} for seed, name in enumerate("abc")
    }
    entries["a"]["gates"] = [{"run": "b", "value": "win_rate", "at_least": 0.01}]
    entries["b"]["gates"] = [{"run": "a", "value": "win_rate", "at_least": 0.5}]
    plan = {"study": "s", "scale": "quick", "runs": entries}
    (tmp_path / "members.json").write_text(json.dumps(plan))
    study = load_members(tmp_path)
    a, b = study.runs
    assert (study.seeds, study.rows(), a.setting, a.lr) == ((0, 1, 2), ["KL-1B"], {"coef": 0.1}, 5e-4)
    assert (a.outcome.label, a.gate) == ("OVER", None)
    assert b.gate == "a gate is closed: a.win_rate is 0.000, below 0.5"
    assert b.outcome.label is None
    entries["b"]["gates"] = [{"run": "c", "value": "win_rate", "at_least": 0.5}]
    (tmp_path / "members.json").write_text(json.dumps(plan))
    assert load_members(tmp_path).runs[1].gate == "a gate is closed: c.win_rate is not recorded"
    assert (a.commit, b.commit) == ("747491b-dirty", "747491b")
    assert (a.parents, b.parents) == ({"policy": "SFT-1B-seed=1"}, {})
    assert [column.tolist()[:2] for column in a.series["kl_ref"]] == [[1, 2], [0.25, 0.5]]
    assert sum(a.won[0].values()) == 4 and sum(a.won[20].values()) == 0 and len(a.won[20]) == 10


def test_a_study_is_read_by_a_judge_that_has_judged_its_runs(tmp_path: Path) -> None:
    judge_again(online_run(tmp_path / "runs" / "a", WORSE), {0: [0.0] * 10, 20: [1.0] * 10})
    plan = {"study": "s", "scale": "quick", "runs": {"a": {"row": "KL-1B", "setting": {}, "seed": 0}}}
    (tmp_path / "members.json").write_text(json.dumps(plan))
    (own,), (other,) = load_members(tmp_path).runs, load_members(tmp_path, MODEL).runs
    assert (own.outcome.label, other.outcome.label) == ("OVER", "GOOD")
    assert [list(run.won) for run in (own, other)] == [[0, 10, 20], [0, 20]]
    assert sum(other.won[20].values()) == 10
    assert [row.get("win_rate") for row in other.evaluations] == [0.0, None, 1.0]
    with pytest.raises(UserError, match=f"--judge gpt: these runs were judged by gold, {MODEL}; see"):
        load_members(tmp_path, "gpt")


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no members\.json; name the --out folder of `overopt study`"):
        load_members(tmp_path)


def test_numbers_come_before_names_among_the_values_of_a_setting() -> None:
    runs = tuple(_run("row", {"loss": loss}, 100) for loss in ("none", 10.0, 9.0))
    study = Members("s", "miniature", runs, ())
    assert [run.setting["loss"] for run in study.of("row")] == [9.0, 10.0, "none"]

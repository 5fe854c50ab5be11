import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from overopt.errors import UserError
from overopt.outcomes import Outcome
from overopt.records import legend
from overopt.replication import exchange
from overopt.replication.exchange import KEPT, read_exchange, read_study, write_exchange
from overopt.replication.members import Member, Members, Points


def points(*values: float, first: int = 1) -> Points:
    return np.arange(first, first + len(values), dtype=float), np.array(values)


OUTCOME = Outcome("OVER", "the proxy rose", {"win_rate": 0.1, "difference": -1 / 3}, False, 1e-9, past_peak=True)

ONLINE = Member(
    name="ME-1B-1e-6-coef=0.5-seed=100",
    row="ME-1B-1e-6",
    setting={"coef": 0.5},
    seed=100,
    stage="online",
    status="finished",
    config={"lr": 5e-4, "regularizers": [{"name": "kl", "coef": 0.2}]},
    outcome=OUTCOME,
    series={"kl_ref": points(0.1, 0.2, 0.3), "kl_prev": points(7.0, first=2), "ratio_mean": points(1.0, 1.0, 1.0)},
    evaluations=[
        {"step": 0, "split": "test", "judge": "gold", "n": 3, "win_rate": 0.5, "kl_ref": 0.0},
        {"step": 20, "split": "test", "judge": "gold", "n": 3, "win_rate": 0.0},
    ],
    won={0: {"a": 1.0, "b": 0.0, "c": 0.5}, 10: {"a": 0.0, "b": 1.0}, 20: {"a": 0.0, "b": 0.0, "c": 0.0}},
    proxy={0: {"a": 0.25, "b": -1.5}, 10: {"a": 3.0}, 20: {"a": 4.0, "b": 0.1}},
    commit="747491b",
    parents={"policy": "SFT-1B-seed=100", "reward_model": "RM-1B-seed=100"},
)

PARENT = Member("SFT-1B-seed=100", "SFT-1B", {}, 100, "sft", "running", {"lr": 1e-3}, Outcome(None, "no judge"),
                series={"loss": points(2.0, 1.0)})  # fmt: skip

PLANNED = ((ONLINE.row, {"coef": 0.5}, 100), ("SFT-1B", {}, 100), ("KL-1B", {}, 100))
STUDY = Members("maxent-failure-modes", "miniature", (ONLINE, PARENT), PLANNED)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_exchange(STUDY, tmp_path / "out")
    return tmp_path / "out"


def test_the_runs_come_back(folder: Path) -> None:
    members = read_exchange(folder)
    assert (members.study, members.scale, members.planned) == (STUDY.study, STUDY.scale, PLANNED)
    online, parent = members.runs
    for name in ("name", "row", "setting", "seed", "stage", "status", "config", "outcome", "evaluations", "won"):
        assert getattr(online, name) == getattr(ONLINE, name), name
    assert (online.commit, online.parents) == (ONLINE.commit, ONLINE.parents)
    assert (parent.outcome, parent.commit, parent.parents) == (PARENT.outcome, None, {})
    assert (parent.evaluations, parent.won, parent.series) == ([], {}, {})


def test_whole_numbers_stay_whole_and_absent_values_absent(folder: Path) -> None:
    first, last = read_exchange(folder).runs[0].evaluations
    assert [type(first[name]) for name in ("step", "n", "win_rate", "judge")] == [int, int, float, str]
    assert "kl_ref" in first and "kl_ref" not in last


def test_series_are_of_single_precision_and_only_those_that_are_read(folder: Path) -> None:
    series = read_exchange(folder).runs[0].series
    assert sorted(series) == ["kl_prev", "kl_ref"]
    assert series["kl_ref"][0].tolist() == [1, 2, 3]
    assert series["kl_ref"][1].tolist() == [float(np.float32(value)) for value in (0.1, 0.2, 0.3)]
    assert [column.tolist() for column in series["kl_prev"]] == [[2], [7]]


def test_the_proxy_by_prompt_is_kept_of_the_first_and_the_last_evaluation(folder: Path) -> None:
    assert read_exchange(folder).runs[0].proxy == {
        0: {"a": 0.25, "b": -1.5},
        20: {"a": 4.0, "b": float(np.float32(0.1))},
    }


def test_the_files_are_readable_tables(folder: Path) -> None:
    assert sorted(file.name for file in folder.iterdir()) == [
        "evaluations.parquet", "prompts.parquet", "runs.parquet", "series.parquet", "study.json",
    ]  # fmt: skip
    row = parquet.read_table(folder / "runs.parquet").to_pylist()[0]
    assert (row["row"], row["setting"], row["label"], row["seed"]) == ("ME-1B-1e-6", '{"coef": 0.5}', "OVER", 100)
    rows = parquet.read_table(folder / "prompts.parquet").to_pylist()
    assert rows[1] == {"run": ONLINE.name, "step": 0, "prompt": "b", "outcome": 0.0, "proxy": -1.5}
    assert len(rows) == 8


def test_a_study_without_evaluations_comes_back(tmp_path: Path) -> None:
    write_exchange(Members("s", "quick", (PARENT,), ()), tmp_path)
    assert [run.name for run in read_exchange(tmp_path).runs] == [PARENT.name]


def test_a_study_is_read_from_either_form(folder: Path, tmp_path: Path) -> None:
    plan = {"study": "in progress", "scale": "quick", "runs": {}}
    (tmp_path / "members.json").write_text(json.dumps(plan))
    assert read_study(folder).study == "maxent-failure-modes"
    assert read_study(tmp_path).study == "in progress"


def test_the_folder_of_the_runs_themselves_is_refused(tmp_path: Path) -> None:
    (tmp_path / "members.json").write_text("{}")
    with pytest.raises(UserError, match="holds the study's own runs"):
        write_exchange(STUDY, tmp_path)


@pytest.mark.parametrize("name", ["runs", "series", "evaluations", "prompts"])
def test_damaged_and_missing_files_are_named(folder: Path, name: str) -> None:
    file = folder / f"{name}.parquet"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=rf"{name}\.parquet: cannot be read as Parquet \(.*\); restore the file"):
        read_exchange(folder)
    parquet.write_table(pyarrow.table({"other": [1]}), file)
    with pytest.raises(UserError, match=rf"{name}\.parquet: has no column '(name|run)'; it was not written by overopt"):
        read_exchange(folder)
    file.unlink()
    with pytest.raises(UserError, match=rf"{name}\.parquet: missing; .* is not a whole study"):
        read_exchange(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, r"study\.json: schema 2, but this overopt reads up to 1: upgrade"),
        ({"schema": None}, r"study\.json: has no schema; it does not belong to runs\.parquet"),
        ({"planned": [["KL-1B", {}]]}, r"study\.json: not as overopt writes it"),
        ({"planned": None}, r"study\.json: not as overopt writes it"),
    ],
)
def test_another_study_file_is_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    file = folder / "study.json"
    file.write_text(json.dumps(json.loads(file.read_bytes()) | changes))
    with pytest.raises(UserError, match=message):
        read_exchange(folder)
    file.write_text("{")
    with pytest.raises(UserError, match=r"study\.json:1: not JSON"):
        read_exchange(folder)


def test_damaged_json_in_a_run_names_the_run_and_the_column(tmp_path: Path) -> None:
    write_exchange(STUDY, tmp_path)
    file = tmp_path / "runs.parquet"
    table = parquet.read_table(file)
    place = table.schema.get_field_index("config")
    parquet.write_table(table.set_column(place, "config", pyarrow.array(["{", "{}"])), file)
    with pytest.raises(UserError, match=r"runs\.parquet: ME-1B-1e-6-coef=0.5-seed=100: config: not JSON"):
        read_exchange(tmp_path)


def test_no_metric_is_kept_that_no_stage_records() -> None:
    assert not [name for stage, names in KEPT.items() for name in names if stage not in legend.METRICS[name].stages]
    assert exchange.METRICS.count("lr") == 1


def test_every_metric_that_claims_figures_and_questions_name_is_kept() -> None:
    room = Path(exchange.__file__).parent
    sources = [file.read_text("utf-8") for file in room.rglob("*.py") if file.name != "exchange.py"]
    named = {word for source in sources for word in re.findall(r'"(\w+)"', source)}
    read = named & (legend.METRICS.keys() - legend.EVALUATIONS.keys())
    assert len(read) > 10
    assert not read - set(exchange.METRICS)

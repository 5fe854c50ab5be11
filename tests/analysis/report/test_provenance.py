"""How the runs were made, as tables of text."""

from __future__ import annotations

from pathlib import Path

from fake_runs import base_run, online_run

from overopt.analysis.report.collect import collect
from overopt.analysis.report.provenance import cost, provenance


def test_what_differs_is_a_difference_and_the_rest_is_in_common(tmp_path: Path) -> None:
    online_run(tmp_path / "a", changes={"provenance": {"lr": "our choice"}})
    online_run(tmp_path / "b", changes={"lr": 1e-3})
    base_run(tmp_path / "sft")
    configs = provenance(collect([tmp_path]))["configs"]
    assert [config["stage"] for config in configs] == ["online", "sft"]
    assert configs[0]["runs"] == ["a", "b"]
    assert configs[0]["differing"] == [["lr", "0.0005", "0.001"]]
    assert ["regularizers.0.coef", "0.2"] in configs[0]["shared"]
    assert configs[1]["differing"] == []


def test_provenance_and_cost_of_a_run(tmp_path: Path) -> None:
    parents = [{"role": "policy", "path": "../sft", "hash": "0123456789abcdef"}]
    changes = {"device": "cpu", "threads": 2, "parents": parents, "commit": "f" * 40, "diff_hash": "0"}
    online_run(
        tmp_path / "kl", hardware={"processor": "P", "usable_cpus": 2, "cpus": 8}, versions={"torch": "2"}, **changes
    )
    collection = collect([tmp_path])
    assert cost(collection.records[0]) == {"seconds": 120.0, "tokens": 2000.0}
    (found,) = provenance(collection)["runs"]
    assert found["minutes"] == 2.0
    assert found["tokens"] == 2000.0
    assert found["parents"] == ["policy: ../sft (0123456789ab)"]
    assert (found["hardware"], found["versions"]) == ("P, 2 of 8 CPUs", "torch 2")
    assert found["commit"] == "ffffffffffff+changes"
    assert (found["status"], found["seed"], found["steps"], found["resumes"]) == ("finished", 0, 20, 0)


def test_what_was_not_recorded_is_not_made_up(tmp_path: Path) -> None:
    run = online_run(tmp_path / "kl", hardware=None, versions=None, commit=None)
    (run / "timings.jsonl").unlink()
    collection = collect([run])
    assert cost(collection.records[0]) == {}
    (found,) = provenance(collection)["runs"]
    assert (found["minutes"], found["tokens"], found["hardware"], found["versions"]) == (None, None, "", "")

from __future__ import annotations

from overopt.analysis.report.settings import differing_and_shared, setting_of


def test_a_setting_is_all_but_the_seed_and_its_parents() -> None:
    run = {"stage": "online", "regularizers": [{"name": "kl", "coef": 0.2}], "lr": 5e-4, "seed": 1, "policy": "../sft"}
    name, key = setting_of(run)
    assert name == "kl 0.2, lr 0.0005"
    assert setting_of(run | {"seed": 2, "policy": "../../2/sft", "compute": {"threads": 4}}) == (name, key)
    assert setting_of(run | {"epochs": 4}) == (name, setting_of(run | {"epochs": 4})[1])
    assert setting_of(run | {"epochs": 4})[1] != key


def test_a_setting_without_a_coefficient_or_rate_has_a_shorter_name() -> None:
    assert setting_of({"loss": {"name": "kto"}})[0] == "kto"
    assert setting_of({})[0] == "?"


def test_differences_keep_one_value_a_run_and_say_where_there_is_none() -> None:
    differing, shared = differing_and_shared([{"lr": 0.1, "a": {"b": None}, "c": "x"}, {"lr": 0.2, "a": {"b": None}}])
    assert differing == [("lr", ["0.1", "0.2"]), ("c", ["x", "-"])]
    assert shared == [("a.b", "null")]
    assert differing_and_shared([{"lr": 0.1}])[0] == []


def test_of_no_run_nothing_differs() -> None:
    """As on a page whose runs are all damaged."""
    assert differing_and_shared([]) == ([], [])

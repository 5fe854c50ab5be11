from __future__ import annotations

from overopt.addresses import differences, flatten


def test_addresses_are_dotted_and_count_list_items_from_zero() -> None:
    tree = {"lr": 0.1, "task": {"name": "hh"}, "regularizers": [{"name": "kl"}, {"name": "entropy"}], "betas": []}
    assert flatten(tree) == {
        "lr": 0.1, "task.name": "hh", "regularizers.0.name": "kl", "regularizers.1.name": "entropy", "betas": [],
    }  # fmt: skip
    assert flatten({}) == {} and flatten({"a": {}, "b": None}) == {"a": {}, "b": None}


def test_differences_keep_the_order_and_tell_what_is_absent_from_null() -> None:
    trees = [{"lr": 0.1, "a": {"b": None}, "c": "x"}, {"lr": 0.2, "a": {"b": None}, "d": [1]}, {"lr": 0.1, "c": None}]
    assert differences(trees, absent="-") == {
        "lr": [0.1, 0.2, 0.1], "a.b": [None, None, "-"], "c": ["x", "-", None], "d.0": ["-", 1, "-"],
    }  # fmt: skip
    assert differences([{"a": 1}, {"a": 1.0, "b": None}]) == {"b": [None, None]}

"""YAML 1.2's values, the lines of every address, and text that survives a round trip under both versions' rules."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import yaml

from overopt.config import yaml12
from overopt.config.yaml12 import YamlError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("5E3", 5000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-2.5e+1", -25.0),
        ("-.inf", -math.inf),
        ("12", 12),
        ("-7", -7),
        ("0o17", 15),
        ("0x1F", 31),
        ("017", 17),  # octal in YAML 1.1
        ("1_000", "1_000"),  # 1000 in YAML 1.1
        ("1:30", "1:30"),  # 90 in YAML 1.1
        ("true", True),
        ("False", False),
        ("no", "no"),  # false in YAML 1.1
        ("on", "on"),
        ("2026-01-01", "2026-01-01"),  # a date in YAML 1.1
        ("~", None),
        ("null", None),
        ("", None),
        ("'1e-3'", "1e-3"),
        ('"true"', "true"),
        ("!!str 1", "1"),
        ("inf", "inf"),
        ("1e", "1e"),
    ],
)
def test_scalars_follow_the_core_schema(text: str, value: Any) -> None:
    read = yaml12.parse(text).tree
    assert read == value
    assert type(read) is type(value)


def test_nan_is_a_float() -> None:
    assert math.isnan(yaml12.parse(".nan").tree)


def test_every_address_has_its_line() -> None:
    document = yaml12.parse("# comment\nlr: 1\nloss:\n  name: dpo\n\n  beta: 2\nlist:\n- 1\n- {a: 2}\n")
    assert document.tree == {"lr": 1, "loss": {"name": "dpo", "beta": 2}, "list": [1, {"a": 2}]}
    assert document.lines == {
        (): 2,
        ("lr",): 2,
        ("loss",): 3,
        ("loss", "name"): 4,
        ("loss", "beta"): 6,
        ("list",): 7,
        ("list", 0): 8,
        ("list", 1): 9,
        ("list", 1, "a"): 9,
    }


def test_a_duplicate_key_is_listed_and_the_first_counts() -> None:
    document = yaml12.parse("a: 1\nb: {c: 1, c: 2}\na: 3\n")
    assert document.tree == {"a": 1, "b": {"c": 1}}
    assert document.problems == [
        (("b", "c"), 2, "duplicate key, first given on line 2"),
        (("a",), 3, "duplicate key, first given on line 1"),
    ]


def test_anchors_are_read_and_loops_refused() -> None:
    assert yaml12.parse("a: &x {k: 1}\nb: *x").tree == {"a": {"k": 1}, "b": {"k": 1}}
    with pytest.raises(YamlError, match="line 1: an alias refers"):
        yaml12.parse("&x [*x]")


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: 1\nb: [1, 2\n", 3, "expected ',' or ']'"),
        ("a: 1\n\tb: 2\n", 2, "cannot start any token"),
        ("a: 1\nb: *x\n", 2, "undefined alias"),
        ("a: 1\n---\nb: 2\n", 2, "but found another document"),
        ("a: 1\nb: \x00\n", 2, "special characters are not allowed"),
        ("a: !!python/object:os.system x", 1, "cannot be read as"),
        ("a: 1\n[1]: 2\n", 2, "a key must be plain text"),
        ("a: !!int x", 1, "'x' cannot be read as"),
        ("a: !!set {x}", 1, "means nothing here"),
        ("a: " + "9" * 5000, 1, "too many digits"),
        ("a: 0x" + "f" * 5000, 1, "too many digits"),
        ("a: " + "[" * 10_000 + "]" * 10_000, 1, "nested too deep"),
        ("\n".join(" " * depth + "a:" for depth in range(2_000)), 1, "nested too deep"),
        (
            "a: &a [x, x, x, x]\n"
            + "".join(f"{name}: &{name} [{', '.join([f'*{of}'] * 9)}]\n" for of, name in pairwise("abcdefghi")),
            1,
            "more than 10,000 values, or aliases",
        ),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_line(
    text: str, line: int, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("overopt.config.yaml12.MOST_VALUES", 10_000)
    with pytest.raises(YamlError) as caught:
        yaml12.parse(text)
    assert problem in caught.value.problem
    assert caught.value.line == line


def test_an_empty_text_is_nothing() -> None:
    assert yaml12.parse("# only a comment\n").tree is None


def test_written_values_are_read_back_by_both_versions() -> None:
    tree = {
        "lr": 1e-6,
        "whole": 3.0,
        "words": ["no", "1e-3", "1_000", "0o17", "2026-01-01", "", "a: b", "#x", "~", "ordinary", "ü"],
        "flags": [True, False, None],
        "empty": {"list": [], "mapping": {}},
    }
    text = yaml12.write(tree)
    assert yaml12.parse(text).tree == tree
    assert yaml.safe_load(text) == tree


def test_blocks_of_plain_values_stand_on_one_line() -> None:
    assert yaml12.write({"b": {"name": "kl", "coef": 0.2}, "a": [1, 2]}) == "b: {name: kl, coef: 0.2}\na: [1, 2]\n"


def test_shared_values_are_written_twice() -> None:
    shared = [1]
    assert yaml12.write({"a": shared, "b": shared}) == "a: [1]\nb: [1]\n"

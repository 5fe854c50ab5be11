"""What a change does to a file, what becomes of one that no longer fits, and that each entry names tests that exist."""

from __future__ import annotations

from pathlib import Path

import mutations
import pytest
from mutations import Mutation

HALF = Mutation("half", "arithmetic.py", "return x / 2", "return x", "test_arithmetic.py")
TEST = "from overopt.arithmetic import half\n\n\ndef test_half():\n    assert half({}) == {}\n"


def checkout(tmp_path: Path, code: str, *, asserted: tuple[int, int]) -> Path:
    """A package of one function and its test."""
    package, tests = tmp_path / "src" / "overopt", tmp_path / "tests"
    package.mkdir(parents=True)
    tests.mkdir()
    (package / "__init__.py").touch()
    (package / "arithmetic.py").write_text(f"def half(x):\n    {code}\n")
    (tests / "test_arithmetic.py").write_text(TEST.format(*asserted))
    return tmp_path


@pytest.mark.parametrize(
    ("code", "asserted", "expected"),
    [
        ("return x / 2", (4, 2), "caught"),
        ("return x / 2", (0, 0), "MISSED"),
        ("return 0.5 * x", (4, 2), "moved"),
    ],
)
def test_a_change_is_made_judged_and_taken_back(
    tmp_path: Path, code: str, asserted: tuple[int, int], expected: str
) -> None:
    here = checkout(tmp_path, code, asserted=asserted)
    before = (here / "src/overopt/arithmetic.py").read_text()
    assert mutations.verdict(here, HALF) == expected
    assert (here / "src/overopt/arithmetic.py").read_text() == before


def test_tests_that_cannot_run_say_nothing(tmp_path: Path) -> None:
    here = checkout(tmp_path, "return x / 2", asserted=(4, 2))
    (here / "tests/test_arithmetic.py").unlink()
    assert mutations.verdict(here, HALF) == "broken"


def test_what_is_there_twice_is_not_changed() -> None:
    assert HALF.apply("return x / 2") == "return x"
    assert HALF.apply("return x / 2\nreturn x / 2") is None


def test_every_change_has_a_name_of_its_own_and_names_tests_that_exist() -> None:
    entries = mutations.mutations()
    assert len({m.change for m in entries}) == len(entries) > 50
    for entry in entries:
        file, _, name = entry.tests.partition("::")
        text = (mutations.ROOT / "tests" / file).read_text(encoding="utf-8")
        assert not name or f"def {name}(" in text, entry.tests
        assert entry.old != entry.new


def test_the_total_and_the_table() -> None:
    found = [(HALF, "caught"), (HALF, "moved"), (HALF, "caught")]
    assert mutations.total(found) == "2 of 3 caught, 1 moved"
    assert "| half | `arithmetic.py` | `test_arithmetic.py` | moved |" in mutations.table(found)

"""What CONTRIBUTING.md teaches is true: its four steps add a loss, and its legend of shapes is the code's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import overopt.types

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def cells(text: str) -> list[list[str]]:
    """The rows of the tables in a text whose first column is one capital letter."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", text, re.MULTILINE)
    ]
    return [row for row in rows if re.fullmatch("`[A-Z]`", row[0])]


def test_the_legend_is_that_of_the_code() -> None:
    assert len(cells(TEXT)) == 7
    assert cells(TEXT) == cells(overopt.types.__doc__ or "")


def test_a_new_loss_in_four_steps(tmp_path: Path) -> None:
    """The steps as written, in a copy: the loss's own test passes, and so do those that ask for formula and example."""
    for folder in ("src", "docs", "examples", "tests/fakes"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "reference"))
    for name in ("pyproject.toml", "tests/conftest.py", "tests/test_docs.py", "tests/test_examples.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    section = TEXT.split("## A new loss in four steps")[1].split("\n## ")[0]
    loss, its_test = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (formula,) = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    named = re.findall(r"`((?:src|tests|docs|examples)/[\w/.]+)`", section)
    source, contract, registry, test, formulas, example, names = (tmp_path / name for name in named)
    assert contract.is_file() and names.is_file()

    source.write_text(loss, "utf-8")
    imported = f"from {'.'.join(source.relative_to(tmp_path / 'src').with_suffix('').parts)} import Exponential\n"
    text = registry.read_text("utf-8")
    assert "from overopt.config import Choice\n" in text and "    | SimPO\n" in text
    text = text.replace("from overopt.config import Choice\n", f"from overopt.config import Choice\n{imported}")
    registry.write_text(text.replace("    | SimPO\n", "    | SimPO\n    | Exponential\n"), "utf-8")
    test.parent.mkdir(parents=True)
    test.write_text(its_test, "utf-8")
    formulas.write_text(formulas.read_text("utf-8").replace("pair_loss:\n", f"pair_loss:\n{formula}", 1), "utf-8")
    simpo = example.with_name("offline_simpo.yaml").read_text("utf-8").replace("simpo", "exponential")
    example.write_text(
        re.sub(r"^loss: .*$", "loss: {name: exponential, scale: 2.0}", simpo, flags=re.MULTILINE), "utf-8"
    )

    checks = [str(test), "tests/test_docs.py", "tests/test_examples.py", "-k", "by_hand or typeset or exponential"]
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *checks]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "src")}
    done = subprocess.run(pytest, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "\n5 passed" in done.stdout, done.stdout + done.stderr  # by hand, typeset, and three of the example

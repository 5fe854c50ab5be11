"""Changes of meaning, made one at a time in a copy of the checkout: does a test notice each of them?

    python bench/mutations.py [NAME ...] [--table bench/mutations.md]

The changes, with the tests that must notice them, are in mutations.yaml. A line for each says `caught` (a test failed),
`MISSED` (all passed), `moved` (the text to change is not there, or is there twice: bring the entry up to date) or
`broken` (pytest could not run the tests, so they say nothing). All the tests run once without any change first, since
one that fails anyway catches nothing. The exit code is 1 unless every change is caught.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

ROOT = Path(__file__).parents[1]
COPIED = ("src", "tests", "examples", "bench", "docs", "pyproject.toml", "README.md", "Makefile")


@dataclass(frozen=True)
class Mutation:
    """One change: `old` becomes `new` in a file of `src/overopt`; `tests` are an argument of pytest, below `tests`."""

    change: str
    file: str
    old: str
    new: str
    tests: str

    def apply(self, text: str) -> str | None:
        """The file's text with the change; None if what it replaces is not there exactly once."""
        return text.replace(self.old, self.new) if text.count(self.old) == 1 else None


def mutations() -> list[Mutation]:
    """Those of mutations.yaml."""
    text = Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")
    return [Mutation(**entry) for entry in yaml.safe_load(text)]


def copy_checkout(folder: Path) -> None:
    """What the tests need, and nothing that was generated."""
    for source in (ROOT / name for name in COPIED):
        if source.is_dir():
            shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)


def run_tests(checkout: Path, tests: Sequence[str]) -> int:
    """Pytest's exit code: 0 all passed, 1 some failed, otherwise nothing was learned."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    arguments = [*command, *(f"tests/{test}" for test in tests)]
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(arguments, cwd=checkout, env=environment, capture_output=True, check=False).returncode


def verdict(checkout: Path, mutation: Mutation) -> str:
    """Make one change, run its tests, and take the change back."""
    file = checkout / "src" / "overopt" / mutation.file
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    changed = mutation.apply(text)
    if changed is None:
        return "moved"
    file.write_text(changed, encoding="utf-8")
    try:
        return {0: "MISSED", 1: "caught"}.get(run_tests(checkout, [mutation.tests]), "broken")
    finally:
        file.write_text(text, encoding="utf-8")


def table(found: Sequence[tuple[Mutation, str]]) -> str:
    """The results as Markdown."""
    rows = [f"| {m.change} | `{m.file}` | `{m.tests.partition('::')[0]}` | {result} |" for m, result in found]
    about = (
        "Changes of meaning that a test must notice, made one at a time by [mutations.py](mutations.py), which names\n"
        "them with their tests in [mutations.yaml](mutations.yaml)."
    )
    head = ["| change | in `src/overopt` | noticed in `tests` | |", "|---|---|---|---|"]
    return "\n".join([f"# Mutations: {total(found)}", "", about, "", *head, *rows, ""])


def total(found: Sequence[tuple[Mutation, str]]) -> str:
    counts = Counter(result for _, result in found)
    others = [f", {count} {result}" for result, count in counts.items() if result != "caught"]
    return f"{counts['caught']} of {len(found)} caught{''.join(others)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="parts of the names of some changes; default: all")
    parser.add_argument("--table", type=Path, help="a Markdown table to write")
    arguments = parser.parse_args()
    chosen = [m for m in mutations() if not arguments.names or any(name in m.change for name in arguments.names)]
    found: list[tuple[Mutation, str]] = []
    with TemporaryDirectory() as folder:
        checkout = Path(folder)
        copy_checkout(checkout)
        if run_tests(checkout, sorted({m.tests for m in chosen})) != 0:
            sys.exit("without any change a test fails or is not there: run the tests of mutations.yaml by hand first")
        for mutation in chosen:
            found.append((mutation, verdict(checkout, mutation)))
            print(f"{found[-1][1]:8}{mutation.file}: {mutation.change}", flush=True)
    print(total(found))
    if arguments.table:
        arguments.table.write_text(table(found), encoding="utf-8")
    return int(any(result != "caught" for _, result in found))


if __name__ == "__main__":
    sys.exit(main())

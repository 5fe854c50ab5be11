"""Workflows, hooks, issue forms and the Dockerfile name only what exists: targets of make, files, supported Pythons."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
SLOW = {
    "test-browser",
    "test-distributed",
    "test-faults",
    "test-judges",
    "test-objectives",
    "test-ray",
    "test-real",
    "test-sinks",
    "test-theory",
    "test-trl",
}


def jobs(path: Path) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))["jobs"]
    return tree


def matrix(job: dict[str, Any]) -> list[dict[str, str]]:
    """Every combination of a job's matrix; one that is empty, if it has none."""
    axes = dict(job.get("strategy", {}).get("matrix", {}))
    rows: list[dict[str, str]] = axes.pop("include", None) or [{}]
    for name, values in axes.items():
        rows = [row | {name: value} for row in rows for value in values]
    return rows


def scripts(path: Path) -> list[str]:
    """The `run` lines of a workflow, for every combination of the matrix."""
    return [
        re.sub(r"\$\{\{ *matrix\.(\w+) *\}\}", lambda found, row=row: row[found[1]], step["run"])
        for job in jobs(path).values()
        for row in matrix(job)
        for step in job["steps"]
        if "run" in step
    ]


def made(path: Path) -> set[str]:
    return {target for script in scripts(path) for target in re.findall(r"^make ([a-z-]+)", script, re.MULTILINE)}


def supported() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    versions = [line.rpartition(" ")[2] for line in project["classifiers"] if re.search(r"Python :: 3\.\d+$", line)]
    assert project["requires-python"] == f">={versions[0]}"
    return versions


def test_there_are_four_workflows() -> None:
    assert [path.stem for path in WORKFLOWS] == ["docs", "nightly", "release", "tests"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_target_exists_and_every_line_is_a_shell_script(path: Path) -> None:
    assert made(path) <= TARGETS
    assert all("${{ matrix" not in script for script in scripts(path))
    for script in scripts(path):
        plain = re.sub(r"\$\{\{.*?\}\}", "X", script)
        assert subprocess.run(["bash", "-n", "-c", plain], capture_output=True, check=False).returncode == 0, script
    for job in jobs(path).values():
        assert job["timeout-minutes" if "environment" not in job else "runs-on"]
        assert all("@" in step["uses"] for step in job["steps"] if "uses" in step)


def test_all_supported_pythons_are_tested_and_all_slow_suites_run_at_night() -> None:
    tests, nightly = GITHUB / "workflows" / "tests.yml", GITHUB / "workflows" / "nightly.yml"
    assert [row["python"] for row in matrix(jobs(tests)["pinned"])] == supported() == ["3.11", "3.12", "3.13"]
    assert [row["resolution"] for row in matrix(jobs(tests)["versions"])] == ["lowest-direct", "highest"]
    assert made(tests) == {"test", "lint"}
    assert {target for target in TARGETS if target.startswith("test-")} == SLOW
    assert made(nightly) >= SLOW


def test_a_release_is_published_without_a_password() -> None:
    publish = jobs(GITHUB / "workflows" / "release.yml")["publish"]
    assert publish["permissions"] == {"id-token": "write"} and publish["needs"] == "build"
    assert "secrets" not in (GITHUB / "workflows" / "release.yml").read_text("utf-8")


def test_the_help_of_make_names_every_target() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [target for target in TARGETS - {"help", "install", "clean"} if target not in shown] == []
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony is not None and set(phony[1].split()) == TARGETS


def test_hooks_are_what_lint_runs() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    commands = [hook["entry"].replace(" --force-exclude", "") for hook in repository["hooks"]]
    linted = re.search(r"^lint: .*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert linted is not None
    assert commands == [
        line.replace("$(BIN)", ".venv/bin").removesuffix(" .").strip() for line in linted[1].splitlines()
    ]


@pytest.mark.parametrize("path", sorted((GITHUB / "ISSUE_TEMPLATE").glob("*_*.yml")), ids=lambda path: path.stem)
def test_issue_forms_have_what_github_asks_for(path: Path) -> None:
    form = yaml.safe_load(path.read_text("utf-8"))
    assert form.keys() >= {"name", "description", "body"}
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len(set(ids)) and all(field["attributes"]["label"] for field in form["body"])


def test_the_dockerfile_copies_what_is_there_and_what_is_not_ignored() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    copied = [name for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for name in line.split()]
    kept = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text("utf-8"), re.MULTILINE)
    assert copied == [*kept[:3], "src", "examples"] and all((ROOT / name).exists() for name in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {project["readme"], *project["license-files"], "pyproject.toml"} <= set(copied), "what building needs"
    extras = re.search(r"'\.\[(.*)\]'", text)
    assert extras is not None and set(extras[1].split(",")) <= set(project["optional-dependencies"])


def test_the_sdist_has_every_file_of_the_front_door() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert [name for name in included if not (ROOT / name.strip("/")).exists()] == []
    documents = {f"/{path.name}" for path in ROOT.glob("*.md")}
    assert documents | {"/.github", "/.pre-commit-config.yaml", "/Dockerfile", "/.dockerignore", "/Makefile"} <= set(
        included
    )

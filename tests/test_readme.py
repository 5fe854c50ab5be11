"""The README is short, and what it shows works: its commands run as shown and in that order, in a fresh folder."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

import overopt
from overopt.cli import main
from overopt.config import load
from overopt.training.stages import STAGES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")

SMALLER = {
    "name: miniature}": "name: miniature, demonstration_count: 64, prompt_count: 16, reward_test_count: 16,"
    " evaluation_count: 8}",
    "hidden_size: 64, layers: 2, heads: 2": "hidden_size: 16, layers: 1, heads: 2",
    "steps: 500": "steps: 4",
    "warmup: 50,": "warmup: 1,",
    "count: 8000": "count: 64",
    "total_episodes: 5120": "total_episodes: 32",
    "episodes_per_update: 64": "episodes_per_update: 16",
    "checkpoint_every: 10 ": "checkpoint_every: 1 ",
}
"""Texts of the examples -> what stands there instead while the commands are tried, so that they take seconds."""


def blocks(language: str) -> list[str]:
    """The README's code blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """The words of every shell command of the README, in order, without comments."""
    return [
        words for block in blocks("sh") for line in block.splitlines() if (words := shlex.split(line, comments=True))
    ]


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh folder with the examples, each made small, as the working directory."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    unused = set(SMALLER)
    for path in (tmp_path / "examples").glob("*_miniature.yaml"):
        text = path.read_text("utf-8")
        for before, after in SMALLER.items():
            unused -= {before} if before in text else set()
            text = text.replace(before, after)
        path.write_text(text, "utf-8")
    assert not unused, "the examples no longer have these texts"
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_is_short() -> None:
    assert len(README.split()) < 700


def test_every_command_runs_as_shown(fresh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = [words[1:] for words in commands() if words[0] == "overopt"]
    assert [arguments[0] for arguments in shown][:2] == ["plan", "train"], "planned before its parents exist"
    for arguments in shown:
        assert main(arguments) == 0, (arguments, capsys.readouterr().err)
    printed = capsys.readouterr().out
    assert "online_miniature: stage online" in printed and "L = -log sigma" in printed
    runs = [overopt.load_run(path.parent) for path in sorted(fresh.glob("out/*/run.json"))]
    assert [(run.path.name, run.status) for run in runs] == [
        (name, "finished") for name in ("kl", "none", "reward_model", "sft")
    ]
    assert runs[0].config["regularizers"] == [{"name": "kl", "coef": 0.2}] and runs[1].config["regularizers"] == []
    assert (fresh / "out" / "report.html").stat().st_size > 10_000

    (python,) = blocks("python")
    names: dict[str, object] = {}
    exec(python, names)
    assert names["steps"] == [1, 2]
    assert overopt.load_run("out/low-lr").config["lr"] == 2e-5


def test_its_yaml_is_valid(tmp_path: Path) -> None:
    (text,) = blocks("yaml")
    stage = load(STAGES, yaml.safe_load(text) | {"lr": 5e-7}, base=tmp_path)
    assert stage.loss.gamma == 0.5 and stage.task.prompt_style == "chat_template"


def test_installing_puts_overopt_on_the_path(tmp_path: Path) -> None:
    """The install block, in a shell, with a pip that only installs the command that pyproject.toml names."""
    (install,) = [block for block in blocks("sh") if "pip install" in block]
    pip = """pip() {
        [ "$*" = "install ." ] && [ -f pyproject.toml ] && install -m 755 /dev/null "$VIRTUAL_ENV/bin/overopt"
    }"""
    assert re.search(r'^overopt = "overopt\.cli:main"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    (tmp_path / "pyproject.toml").touch()
    script = "\n".join(["set -e", pip, install.replace("venv .venv", "venv --without-pip .venv"), "command -v overopt"])
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == [str(tmp_path / ".venv" / "bin" / "overopt")], done.stderr


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("words", [words for words in commands() if words[0] == "make"], ids=" ".join)
def test_make_has_every_target_that_it_names(words: list[str]) -> None:
    planned = subprocess.run([*words, "-n"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert planned.returncode == 0, planned.stderr
    assert {"demo": "overopt demo --out out/demo", "test": "-m pytest"}[words[1]] in planned.stdout


def test_every_link_leads_to_a_file() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert len(links) > 15
    assert [link for link in links if not (ROOT / link).exists()] == []

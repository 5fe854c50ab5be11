import hashlib
import json
import platform
import subprocess
from pathlib import Path

from overopt.records.environment import _checkout, environment


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True
    ).stdout


def test_says_versions_and_hardware_as_json() -> None:
    found = environment()
    assert found["versions"]["python"] == platform.python_version()
    assert found["versions"]["torch"].startswith("2.")
    assert found["hardware"]["cpus"] >= found["hardware"]["usable_cpus"] >= 1
    assert json.loads(json.dumps(found)) == found


def test_a_checkout_is_named_by_its_commit_and_its_changes(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("x = 1\n")
    git(tmp_path, "add", "a.py")
    assert _checkout(tmp_path) == {}  # nothing was committed yet
    git(tmp_path, "commit", "-qm", "first")
    commit = git(tmp_path, "rev-parse", "HEAD").strip()
    assert _checkout(tmp_path) == {"commit": commit, "diff_hash": None}

    (tmp_path / "a.py").write_text("x = 2\n")
    changes = git(tmp_path, "diff", "HEAD")
    assert _checkout(tmp_path) == {"commit": commit, "diff_hash": hashlib.sha256(changes.encode()).hexdigest()}


def test_a_package_that_its_surrounding_checkout_does_not_track_has_no_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-qm", "first", "--allow-empty")
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "a.py").write_text("")
    assert _checkout(tmp_path / "site-packages") == {}

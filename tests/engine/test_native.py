"""Compiled once and kept, or left alone: nothing fails where nothing can be compiled."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from overopt.engine import native


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("OVEROPT_NATIVE", raising=False)
    native.library.cache_clear()
    yield tmp_path / "cache" / "overopt"
    native.library.cache_clear()


def a_compiler(folder: Path, text: str) -> Path:
    file = folder / "cc"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def test_without_a_compiler_or_if_told_so_torch_does_it(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as away:
        away.setattr(shutil, "which", lambda name: None)
        assert native.library() is None and not native.available(torch.device("cpu"))
    native.library.cache_clear()
    monkeypatch.setenv("OVEROPT_NATIVE", "0")
    assert native.library() is None
    assert not cache.exists()


@pytest.mark.parametrize("text", ["exit 1", "true", 'while [ "$1" != -o ]; do shift; done; echo nonsense > "$2"'])
def test_a_compiler_that_fails_or_makes_nothing_of_use_is_no_error(
    text: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = a_compiler(tmp_path, text)
    monkeypatch.setattr(shutil, "which", lambda name: str(compiler))
    assert native.library() is None


def test_several_threads_and_gpus_are_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "library", lambda: print)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert native.available(torch.device("cpu")) and not native.available(torch.device("cuda"))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert not native.available(torch.device("cpu"))


def test_a_cache_that_others_may_write_is_not_trusted(cache: Path) -> None:
    assert native._folder() == cache and stat.S_IMODE(cache.stat().st_mode) == 0o700
    cache.chmod(0o777)
    assert native._folder() != cache
    assert native._folder().stat().st_uid == os.getuid()


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here, so torch does this work")
def test_it_is_compiled_once_and_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert native.library() is not None
    (file,) = cache.iterdir()
    assert file.name.startswith("native-") and file.suffix == ".so"
    assert np.float32(1e-40) * np.float32(1) > 0  # the process computes as before
    native.library.cache_clear()
    monkeypatch.setattr(native.subprocess, "run", lambda *rest, **named: pytest.fail("compiled again"))
    assert native.library() is not None


def test_a_user_without_a_home_gets_a_folder_for_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")  # as Python does without HOME and an entry in passwd

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", home)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = native._folder()
    assert folder.parent == tmp_path and stat.S_IMODE(folder.stat().st_mode) == 0o700

"""Comparisons with TRL run where TRL is installed (`make test-trl`); elsewhere this folder is not collected."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("trl") else ["test_*.py"]

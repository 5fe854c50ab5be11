"""The claim on a study's folder, and its summary."""

from __future__ import annotations

from pathlib import Path

import pytest

from overopt.errors import UserError
from overopt.records.study_folder import failed_gate_before, read_claim, write_claim, write_summary


def test_a_claim_is_read_as_it_was_made(tmp_path: Path) -> None:
    out = tmp_path / "a/b"
    assert read_claim(out) is None
    write_claim(out, {"study": "x"})
    assert read_claim(out) == {"study": "x"}
    assert [path.name for path in out.iterdir()] == ["study.json"], "nothing half-written is left"


def test_what_cannot_be_claimed_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is a file; name a directory"):
        read_claim(tmp_path / "file")
    with pytest.raises(UserError, match="cannot be made: Not a directory"):
        write_claim(tmp_path / "file/below", {})
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(UserError, match=r"study.json: not JSON"):
        read_claim(tmp_path)
    write_summary(tmp_path, [])
    with pytest.raises(UserError, match=r"holds summary.json, which this study did not make"):
        write_claim(tmp_path, {})


def test_a_run_finds_the_gate_before_it_in_the_summary(tmp_path: Path) -> None:
    kl, none = tmp_path / "runs/kl", tmp_path / "runs/none"
    assert failed_gate_before(kl) is None, "no summary yet"
    write_summary(tmp_path, [{"run": "kl", "gate": "sft.win_rate"}, {"run": "none", "gate": None}])
    assert failed_gate_before(kl) == "sft.win_rate"
    assert failed_gate_before(none) is None
    assert failed_gate_before(tmp_path / "elsewhere/kl") is None, "not among the study's runs"
    (tmp_path / "summary.json").write_text('{"kl": 1}')
    assert failed_gate_before(kl) is None, "a summary of someone else's"

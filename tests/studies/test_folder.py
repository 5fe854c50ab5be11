"""The claim on a study's directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from overopt.errors import UserError
from overopt.studies.folder import claimed, make_claim, write_whole


def test_a_claim_is_read_as_it_was_made(tmp_path: Path) -> None:
    out = tmp_path / "a/b"
    assert claimed(out) is None
    make_claim(out, {"study": "x"})
    assert claimed(out) == {"study": "x"}
    assert [path.name for path in out.iterdir()] == ["study.json"], "nothing half-written is left"


def test_what_cannot_be_claimed_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is a file; name a directory"):
        claimed(tmp_path / "file")
    with pytest.raises(UserError, match="cannot be made: Not a directory"):
        make_claim(tmp_path / "file/below", {})
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(UserError, match=r"study.json: not JSON"):
        claimed(tmp_path)
    write_whole(tmp_path / "summary.json", [])
    with pytest.raises(UserError, match=r"holds summary.json, which this study did not make"):
        make_claim(tmp_path, {})

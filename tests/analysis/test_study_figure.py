"""The figure's specification, and that it can be drawn."""

from __future__ import annotations

import json
from pathlib import Path

from overopt.analysis.curves import Curve
from overopt.analysis.study_figure import COLORS, save, win_rate_and_proxy

CURVES = [
    Curve("kl", "online", "GOOD", (0, 80), (0.4, 0.7), (0.0, 1.0)),
    Curve("none", "online", "OVER", (0, 80), (0.4, 0.0), (0.0, 3.0)),
    Curve("simpo", "offline", None, (0, 250), (0.4, None), (None, None)),
]


def test_a_column_per_stage_with_win_rate_above_proxy() -> None:
    spec = win_rate_and_proxy(CURVES, "A study", sft_win_rate=0.4).to_dict()
    assert len(spec["hconcat"]) == 2
    assert [len(column["vconcat"]) for column in spec["hconcat"]] == [2, 2]
    assert [column["resolve"] for column in spec["hconcat"]] == [{"scale": {"x": "shared"}}] * 2
    text = json.dumps(spec)
    assert '"text": "kl  GOOD"' in text
    assert '"text": "none  OVER"' in text
    assert '"text": "simpo"' in text, "no label, no outcome"
    assert '"title": "online (RLOO)"' in text


def test_colors_are_the_runs_own_in_both_panels() -> None:
    values = [value for data in win_rate_and_proxy(CURVES, "A study").to_dict()["datasets"].values() for value in data]
    colors = {(value["run"], value["color"]) for value in values if "run" in value}
    assert colors == {("kl", COLORS[0]), ("none", COLORS[1]), ("simpo", COLORS[2])}
    assert len(set(COLORS)) == 7


def test_it_is_drawn_as_vectors_and_pixels(tmp_path: Path) -> None:
    paths = save(win_rate_and_proxy(CURVES, "A study", 0.4), tmp_path / "folder/figure")
    assert [path.name for path in paths] == ["figure.svg", "figure.png"]
    assert "A study" in paths[0].read_text()
    assert paths[1].read_bytes().startswith(b"\x89PNG")


def test_runs_without_evaluations_are_left_out() -> None:
    assert (
        win_rate_and_proxy([CURVES[0], Curve("empty", "offline", None, (), (), ())], "").to_dict()["hconcat"][1:] == []
    )

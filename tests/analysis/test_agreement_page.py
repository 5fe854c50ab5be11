from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from overopt.analysis.agreement_page import (
    agreement_page,
    agreement_text,
    draw_agreement,
    read_agreement,
    verdicts,
    write_agreement_page,
)
from overopt.errors import UserError


def estimate(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": value, "low": low, "high": high, "n": 100}


GOOD = {
    "judge": "openai/some-model:j1",
    "n": 98,
    "invalid": 2,
    "ties": 11,
    "accuracy": estimate(0.74, 0.65, 0.81),
    "kappa": estimate(0.48, 0.31, 0.63),
    "position_bias": estimate(0.12, 0.04, 0.19),
    "order_consistency": estimate(0.8, 0.71, 0.87),
    "length_bias": estimate(-0.05, -0.15, 0.05),
    "seconds_per_judgement": 0.5,
}
SCORES = {
    "judge": "reward_model",
    "n": 100,
    "invalid": 0,
    "ties": 0,
    "accuracy": estimate(0.52, 0.42, 0.61),
    "kappa": estimate(0.04, -0.16, 0.22),
    "length_bias": estimate(0.3, 0.2, 0.4),
}
MUTE = {"judge": "mute", "n": 0, "invalid": 100, "ties": 0}


def document(*judges: dict[str, Any], **fields: Any) -> dict[str, Any]:
    between = [
        {"judges": [judges[0]["judge"], other["judge"]], "agreement": estimate(0.6, 0.5, 0.7)} for other in judges[1:]
    ]
    head = {"source": "pairs.json", "date": "2026-01-01", "n": 100, "left_out": {"empty prompt": 3}}
    return {**head, "judges": list(judges), "between": between, "pairs": [], **fields}


def test_the_table_of_judges() -> None:
    text = agreement_text(document(GOOD, SCORES, MUTE, humans_prefer_longer=estimate(0.57, 0.47, 0.66)))
    lines = [line.split("  ") for line in text.splitlines()]
    cells = [[cell.strip() for cell in line if cell] for line in lines]
    assert ["openai/some-model:j1", "98", "2", "11", "0.74 [0.65, 0.81]", "0.48 [0.31, 0.63]", "0.5"] in cells
    assert ["reward_model", "100", "0", "0", "0.52 [0.42, 0.61]", "0.04 [-0.16, 0.22]", "cached"] in cells
    assert ["reward_model", "-", "-", "+0.30 [+0.20, +0.40]", "-"] in cells
    assert ["openai/some-model:j1", "reward_model", "0.60 [0.50, 0.70]", "-"] in cells
    assert "100 pairs of pairs.json, judged 2026-01-01; left out: 3 x empty prompt; humans prefer the longer" in text


def test_what_the_intervals_exclude_is_said() -> None:
    worse = {**SCORES, "judge": "contrary", "accuracy": estimate(0.3, 0.2, 0.4), "length_bias": estimate(-3, -4, -2)}
    assert verdicts(document(GOOD, SCORES, MUTE, worse)) == [
        "openai/some-model:j1: better than a coin; prefers the text that stands first.",
        "reward_model: not distinguishable from a coin; prefers the longer text more often than humans do.",
        "mute: gave no valid judgement.",
        "contrary: worse than a coin; prefers the shorter text more often than humans do.",
    ]


def test_the_page_escapes_what_it_shows() -> None:
    evil = {**GOOD, "judge": "<script>alert(1)</script>\x1b[31m"}
    page = agreement_page(document(evil, SCORES, source='<img src=x onerror="y">'))
    assert "<script" not in page
    assert "<img" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;␛[31m" in page
    assert "0.74 [0.65, 0.81]" in page
    assert "default-src 'none'; style-src 'unsafe-inline'" in page
    assert "\x1b" not in agreement_text(document(evil))


def test_the_figure_has_a_panel_for_each_measure() -> None:
    spec = draw_agreement(document(GOOD, SCORES, MUTE)).to_dict()
    panels = spec["hconcat"]
    assert [panel["layer"][1]["encoding"]["x"]["title"] for panel in panels] == [
        "accuracy",
        "kappa",
        "position bias",
        "length bias",
    ]
    # a judge without a value keeps its place
    data = panels[2]["layer"][1]["data"]
    values = data["values"] if "values" in data else spec["datasets"][data["name"]]
    assert values == [{"judge": GOOD["judge"], **GOOD["position_bias"]}]
    assert panels[2]["layer"][1]["encoding"]["y"]["scale"]["domain"] == [GOOD["judge"], "reward_model", "mute"]


def test_the_page_is_made_from_the_json_alone(tmp_path: Path) -> None:
    (tmp_path / "agreement.json").write_text(json.dumps(document(GOOD)))
    path = write_agreement_page(tmp_path)
    assert path == tmp_path / "agreement.html"
    assert path.read_text() == agreement_page(document(GOOD))
    assert "Between judges" not in path.read_text()


def test_another_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"agreement\.json: no such file"):
        read_agreement(tmp_path)
    (tmp_path / "agreement.json").write_text('{"rows": []}')
    with pytest.raises(UserError, match="is not what `overopt judge agreement` writes"):
        read_agreement(tmp_path)

"""Panels: their lines, their thinning, and the mark at the end of each line."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from fake_runs import BETTER, WORSE, Evaluated, offline_run, online_run

from overopt.analysis.report.collect import Group, collect
from overopt.analysis.report.figures import FAMILIES, drawing
from overopt.analysis.report.figures.drawing import Panel, line_panel, printed, rows_of, style_of, thin, tidy


def group_at(path: Path) -> Group:
    return collect([path]).groups[0]


def test_thinning_keeps_the_ends_and_every_extreme() -> None:
    x = np.arange(10_001.0)
    y = np.sin(x / 50)
    y[4321], y[8765] = 9.0, -9.0
    kept_x, kept_y = thin(x, y, 100)
    assert len(kept_x) <= 100
    assert (kept_x[0], kept_x[-1], kept_y[-1]) == (0.0, 10_000.0, y[-1])
    assert (kept_y.max(), kept_y.min()) == (9.0, -9.0)
    assert (np.diff(kept_x) > 0).all()
    assert np.array_equal(kept_y, y[kept_x.astype(int)]), "points of the line, nothing in between"


def test_a_short_line_is_kept_as_it_is() -> None:
    x, y = np.arange(20.0), np.arange(20.0)
    assert thin(x, y, 20)[0] is x


def test_six_digits_and_whole_numbers() -> None:
    assert [tidy(value) for value in (0.123456789, 2.0, 1e-7, -5e-4)] == [0.123457, 2, 1e-7, -0.0005]


def test_a_panel_holds_the_records_points_and_a_mark_at_each_lines_end(tmp_path: Path) -> None:
    online_run(tmp_path / "kl", BETTER)
    online_run(tmp_path / "none", WORSE)
    online_run(tmp_path / "going", BETTER[:2], status=None)
    panel = line_panel(group_at(tmp_path), "proxy", "proxy", "step", lambda record: record.evaluated("proxy_mean"))
    assert panel is not None
    lines = rows_of(panel.data["proxy-lines"])
    assert [(row["x"], row["y"]) for row in lines if row["run"] == "none"] == [(0, 0), (10, 2), (20, 3)]
    assert [(row["run"], row["x"], row["y"], row["outcome"]) for row in rows_of(panel.data["proxy-ends"])] == [
        ("going", 10, 0.5, "neither"), ("kl", 20, 1, "better"), ("none", 20, 3, "worse"),
    ]  # fmt: skip


def test_a_run_without_the_numbers_has_no_line_and_nobody_gets_a_zero(tmp_path: Path) -> None:
    online_run(tmp_path / "kl", [Evaluated(0, 4, gold=None), Evaluated(20, 9, gold=None)])
    online_run(tmp_path / "none", WORSE)
    group = group_at(tmp_path)
    panel = line_panel(group, "gold", "gold", "step", lambda record: record.evaluated("gold_mean"))
    assert panel is not None
    assert set(panel.data["gold-lines"]["run"]) == {"none"}
    assert line_panel(group, "x", "x", "step", lambda record: record.metrics.get("never")) is None


def test_panels_against_steps_share_one_axis(tmp_path: Path) -> None:
    online_run(tmp_path / "kl", BETTER[:2])
    online_run(tmp_path / "none", WORSE)
    domains = [
        layer["encoding"]["x"]["scale"]["domain"]
        for name in ("curves", "entropy", "training")
        for panel in panels_of(group_at(tmp_path), name)
        for layer in panel.spec["layer"]
        if "x" in layer["encoding"]
    ]
    assert len(domains) > 9
    assert {tuple(domain) for domain in domains} == {(0, 20)}


def panels_of(group: Group, name: str) -> tuple[Panel, ...]:
    figure = FAMILIES[name](group)
    assert figure is not None
    return figure.panels


def test_many_points_are_limited_for_the_whole_panel(tmp_path: Path) -> None:
    """60 runs of 2,000 steps: 100 points a line."""
    online_run(tmp_path / "kl")
    group = group_at(tmp_path)
    group = Group(group.title, group.slug, group.records * 60)
    points = (np.arange(2000.0), np.arange(2000.0))
    thinned = max(20, min(drawing.LINE_POINTS, drawing.PANEL_POINTS // len(group.records)))
    assert thinned == 100
    panel = line_panel(group, "a", "a", "step", lambda record: points)
    assert panel is not None
    assert len(panel.data["a-lines"]["x"]) <= drawing.LINE_POINTS


def test_every_entry_has_its_own_color_and_dashes(tmp_path: Path) -> None:
    for place in range(28):
        online_run(tmp_path / f"run-{place:02}", BETTER[:1])
    styles = style_of(group_at(tmp_path))
    assert len({(color, tuple(dash)) for color, dash in styles.values()}) == 28
    neighbors = list(styles.values())
    assert all(a[1] != b[1] for a, b in pairwise(neighbors)), "told apart in grey"


def test_the_printed_figure_has_the_pages_numbers_a_title_and_its_notes(tmp_path: Path) -> None:
    online_run(tmp_path / "kl", BETTER)
    group = group_at(tmp_path)
    figure = FAMILIES["curves"](group)
    assert figure is not None
    spec = printed(figure, group.title)
    assert spec["title"]["text"] == "Win rate, proxy and gold: Online runs, miniature task, tuning split"
    for panel in figure.panels:
        for name, table in panel.data.items():
            assert spec["datasets"][name] == rows_of(table)
    assert [len(row["hconcat"]) for row in spec["vconcat"]] == [3]


def data_names(spec: Any) -> set[str]:
    if isinstance(spec, dict):
        own = {spec["data"]["name"]} if isinstance(spec.get("data"), dict) else set()
        return own.union(*map(data_names, spec.values()))
    return set().union(*map(data_names, spec)) if isinstance(spec, list) else set()


def test_every_panel_of_every_family_names_its_data_and_its_axes(tmp_path: Path) -> None:
    for seed in (0, 1):
        online_run(tmp_path / f"on-{seed}", changes={"seed": seed})
        offline_run(tmp_path / f"off-{seed}", changes={"seed": seed})
    drawn = {}
    for group in collect([tmp_path]).groups:
        for name, family in FAMILIES.items():
            if (figure := family(group)) is not None:
                drawn[group.slug, name] = figure
    assert {name for _, name in drawn} == set(FAMILIES)
    for (_, name), figure in drawn.items():
        assert (figure.name, bool(figure.caption)) == (name, True)
        for panel in figure.panels:
            assert data_names(panel.spec) == panel.data.keys()
            assert panel.title
            assert '"title": ""' not in str(panel.spec)

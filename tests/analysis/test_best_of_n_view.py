"""The table's numbers, the verdicts, and the figure's data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from overopt.analysis.best_of_n import BestOfN, ScoredPrompt, ScoredSet, best_of_n, kl
from overopt.analysis.best_of_n_view import curve_table, draw_best_of_n, figure_path, text_report, verdict
from overopt.analysis.scored_sets import read_scored_set
from overopt.errors import UserError

EXAMPLES = Path(__file__).parents[2] / "examples"


def scored(proxies: list[list[float]], golds: list[list[float]], without_kl: str | None = None) -> ScoredSet:
    prompts = [ScoredPrompt("f", np.array(p), np.array(g)) for p, g in zip(proxies, golds, strict=True)]
    return ScoredSet("set.jsonl", tuple(prompts), without_kl=without_kl, notes=("a note",))


GOOD = scored([[1, 2], [1, 3]], [[0, 1], [1, 2]])
HACKED = scored([[1, 2, 3]] * 3, [[0, 3, 0]] * 3)
USELESS = scored([[1, 2], [1, 3]], [[1, 0], [2, 1]])
SYSTEMS = scored([[1, 2], [1, 3]], [[0, 1], [1, 2]], without_kl="they are systems")


def curve_of(found: ScoredSet) -> BestOfN:
    return best_of_n(found.prompts, resamples=200)


def test_the_table() -> None:
    assert curve_table(GOOD, curve_of(GOOD)) == "\n".join(
        [
            "n  KL     proxy (95 %)          gold (95 %)           chosen by gold",
            "-" * 68,
            "1  0.000  1.750 [1.500, 2.000]  1.000 [0.500, 1.500]  1.000",
            "2  0.193  2.500 [2.000, 3.000]  1.500 [1.000, 2.000]  1.500  <- peak",
        ]
    )


def test_systems_have_no_kl_and_it_says_why() -> None:
    report = text_report(SYSTEMS, curve_of(SYSTEMS))
    assert "  KL" not in report
    assert report.startswith("Best of n by proxy: set.jsonl, 2 prompts\n\nn  proxy (95 %)")
    assert report.endswith(
        "\nNo KL: they are systems.\nNote: a note.\n"
        "Note: with 2 prompts only, intervals and standard errors are too narrow."
    )
    many = replace(SYSTEMS, prompts=SYSTEMS.prompts * 10)
    assert text_report(many, curve_of(many)).endswith("Note: a note.")


def test_the_example_shows_what_is_printed() -> None:
    found = read_scored_set([EXAMPLES / "data/realsumm_excerpt.jsonl"])
    assert f"\n```\n{text_report(found, best_of_n(found.prompts))}\n```\n" in (EXAMPLES / "best_of_n.md").read_text()


def test_hostile_names_are_shown_and_do_nothing() -> None:
    hostile = replace(GOOD, name="\x1b[31m</script>\u202e", notes=("of \x9b2J",))
    curve = curve_of(hostile)
    report = text_report(hostile, curve)
    assert report.startswith("Best of n by proxy: \u241b[31m</script>[U+202E], 2 prompts\n")
    assert "\nNote: of [U+009B]2J.\n" in report
    assert (
        draw_best_of_n(hostile, curve).to_dict()["title"]["text"] == "Best of n by proxy: \u241b[31m</script>[U+202E]"
    )


@pytest.mark.parametrize(("largest", "ticks"), [(2, [1, 2]), (3, [1, 2, 3]), (9, [1, 2, 4, 8]), (14, [1, 2, 4, 8, 14])])
def test_ticks_end_at_the_last_n_where_there_is_room(largest: int, ticks: list[int]) -> None:
    found = scored([list(range(largest))] * 2, [[0] * largest] * 2)
    panel = draw_best_of_n(found, curve_of(found)).to_dict()["hconcat"][0]["vconcat"][0]
    assert panel["layer"][1]["encoding"]["x"]["axis"]["values"] == ticks


def test_very_small_and_very_large_scores_keep_their_digits() -> None:
    found = scored([[1e7, 2e7], [1e7, 3e7]], [[0, 1e-5], [1e-5, 2e-5]])
    assert curve_table(found, curve_of(found)).splitlines()[-1] == (
        "2  0.193  2.500e+07 [2.000e+07, 3.000e+07]  1.500e-05 [1.000e-05, 2.000e-05]  1.500e-05  <- peak"
    )
    assert verdict(curve_of(found)).startswith("Gold peaks at n = 2: 1.500e-05, +5.000e-06 (SE ")


def test_verdicts() -> None:
    assert verdict(curve_of(GOOD)) == (
        "Gold peaks at n = 2: 1.500, +0.500 (SE 0.000) over one candidate, 100% of what choosing by gold would add.\n"
        "It still rises at n = 2, the largest that these candidates can show."
    )
    # of the pairs one takes 3 and two take 0: as good as one candidate; the last of all three is 0
    assert verdict(curve_of(HACKED)) == (
        "Gold is highest at n = 1 (1.000): choosing by the proxy buys nothing.\n"
        "Over-optimized: at n = 3 it is 1.000 (SE 0.000) below the peak."
    )
    assert "choosing by the proxy buys nothing" in verdict(curve_of(USELESS))


def test_what_may_be_chance_is_not_called_a_gain_or_a_fall() -> None:
    # means at n = 1, 2, 3: three prompts with 3, 4, 3 and one with 3, 2, 3, so n = 2 gains 1, 1, 1, -1
    noisy = scored([[1, 2, 3]] * 4, [[0, 6, 3]] * 3 + [[6, 0, 3]])
    assert verdict(curve_of(noisy)) == (
        "Gold peaks at n = 2: 3.500, +0.500 (SE 0.433) over one candidate, which may be chance.\n"
        "Beyond n = 1 no larger n adds to it by 2 standard errors.\n"
        "From the peak to n = 3 it does not fall clearly: by 0.500 (SE 0.433)."
    )


def test_the_figure_has_the_tables_numbers() -> None:
    curve = curve_of(HACKED)
    spec = draw_best_of_n(HACKED, curve).to_dict()
    assert [[len(panel["layer"]) for panel in column["vconcat"]] for column in spec["hconcat"]] == [[2, 4], [2, 4]]
    points = [data for data in spec["datasets"].values() if len(data) == 3]
    assert {tuple(point["n"] for point in data) for data in points} == {(1, 2, 3)}
    assert [point["kl"] for point in points[0]] == [kl(1), kl(2), kl(3)]
    drawn = {tuple(point["mean"] for point in data) for data in points}
    assert drawn == {tuple(curve.proxy.mean), tuple(curve.gold.mean)}
    assert curve.gold.mean == pytest.approx([1, 1, 0])
    ring = [data for data in spec["datasets"].values() if len(data) == 1]
    assert ring[0][0]["n"] == curve.peak == 1


def test_the_figure_of_systems_has_one_axis_and_says_so() -> None:
    spec = draw_best_of_n(SYSTEMS, curve_of(SYSTEMS)).to_dict()
    assert len(spec["hconcat"]) == 1
    assert spec["title"]["subtitle"][1] == "no KL axis: the candidates are not draws of one policy"
    assert "kl:Q" not in json.dumps(spec) and '"field": "kl"' not in json.dumps(spec)


@pytest.mark.parametrize(
    ("out", "kind", "path"),
    [
        (None, None, "best-of-n-maxent-0.5.svg"),
        (None, "pdf", "best-of-n-maxent-0.5.pdf"),
        ("a/b.PNG", None, "a/b.PNG"),
        ("a/b", None, "a/b.svg"),
        ("a/b", "png", "a/b.png"),
        ("b.pdf", "pdf", "b.pdf"),
    ],
)
def test_where_the_figure_goes(out: str | None, kind: str | None, path: str) -> None:
    assert figure_path(Path(out) if out else None, kind, Path("some/maxent-0.5.jsonl.gz")) == Path(path)


def test_endings_that_are_refused() -> None:
    with pytest.raises(UserError, match=r"-o a.gif: cannot draw a .gif file; choose svg, png, pdf"):
        figure_path(Path("a.gif"), None, Path("set"))
    with pytest.raises(UserError, match=r"-o a.png: ends in .png, but --format is pdf; drop one of them"):
        figure_path(Path("a.png"), "pdf", Path("set"))

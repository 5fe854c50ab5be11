from dataclasses import replace

from figure_studies import run, study, whole

from overopt.outcomes import Outcome
from overopt.replication.figures.paper import PAPER


def test_the_paper_has_twelve_figures() -> None:
    assert list(PAPER) == [f"figure-{place}" for place in range(1, 13)]
    assert all(figure.must_show.endswith(".") and figure.rows for figure in PAPER.values())


def test_every_figure_is_drawn_from_a_whole_study_and_lacks_nothing() -> None:
    members = whole(seeds=(110, 111))
    for name, paper in PAPER.items():
        figure = paper.draw(members)
        assert (
            figure is not None and figure.name == name and figure.title.startswith(name.capitalize().replace("-", " "))
        )
        assert paper.missing(members) == []


def test_what_is_missing_is_counted_by_row() -> None:
    planned = [("ME-1B-1e-6", {"coef": 0.5}, 1), ("ME-1B-1e-7", {"coef": 0.5}, 0)]
    members = study([run("ME-1B-1e-6", {"coef": 0.5}, 0)], planned)  # type: ignore[arg-type]
    assert PAPER["figure-1"].missing(members) == ["ME-1B-1e-6: 1 of 2 runs have no record", "ME-1B-1e-7: no records"]
    assert PAPER["figure-12"].missing(members) == ["KL-6.9B: not a row of this study"]


def test_figures_are_drawn_from_exactly_their_rows() -> None:
    members = whole(seeds=(110,))
    for paper in PAPER.values():
        others = study([one for one in members.runs if one.row not in paper.rows])
        assert paper.draw(others) is None


def test_notes_name_runs_that_ended_early_or_have_no_label() -> None:
    early = replace(run("KL-6.9B", seed=1), status="diverged")
    gate = "a gate is closed: SFT-6.9B win_rate 0.1 < 0.3"
    unlabeled = [replace(run("KL-6.9B", seed=seed), outcome=Outcome(None, gate)) for seed in (2, 3)]
    assert PAPER["figure-12"].notes(study([run("KL-6.9B"), early, *unlabeled])) == [
        "KL-6.9B-seed=1 is diverged: a mean beyond its end is that of the others.",
        f"KL-6.9B: 2 without a label ({gate}).",
    ]
    assert PAPER["figure-12"].notes(study([run("KL-6.9B")])) == []

"""What each figure of the paper (arXiv 2509.20265) must show, and the rows of the study that it is drawn from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from overopt.replication.figures.drawing import Figure
from overopt.replication.figures.kl import draw_figure_3, draw_figure_5
from overopt.replication.figures.largest import draw_figure_10, draw_figure_11, draw_figure_12
from overopt.replication.figures.margins import draw_figure_4
from overopt.replication.figures.offline import draw_figure_7, draw_figure_8, draw_figure_9
from overopt.replication.figures.online import draw_figure_1, draw_figure_2
from overopt.replication.figures.simpo import draw_figure_6
from overopt.replication.members import Members


@dataclass(frozen=True)
class PaperFigure:
    """A figure of the paper."""

    must_show: str
    """In a sentence, what its caption and the text around it say."""
    rows: tuple[str, ...]
    draw: Callable[[Members], Figure | None]
    """Draws ours, or returns None if no row has records for it."""

    def missing(self, members: Members) -> list[str]:
        """What the figure lacks, by row: `ME-1B-1e-7: 2 of 15 runs have no record`."""
        return [text for row in self.rows if (text := _missing(members, row))]

    def notes(self, members: Members) -> list[str]:
        """Of the runs behind it: which ended early, and how many have no label, by reason."""
        runs = [run for row in self.rows for run in members.of(row)]
        early = [
            f"{run.name} is {run.status}: a mean beyond its end is that of the others."
            for run in runs
            if run.status != "finished"
        ]
        reasons = Counter((run.row, run.outcome.reason) for run in runs if run.outcome.label is None)
        return early + [f"{row}: {count} without a label ({reason})." for (row, reason), count in reasons.items()]


def _missing(members: Members, row: str) -> str:
    planned = sum(name == row for name, _, _ in members.planned)
    recorded = len(members.of(row))
    if not planned and not recorded:
        return f"{row}: not a row of this study"
    if not recorded:
        return f"{row}: no records"
    return f"{row}: {planned - recorded} of {planned} runs have no record" if recorded < planned else ""


PAPER: dict[str, PaperFigure] = {
    "figure-1": PaperFigure(
        "At 1B and the learning rate 1e-6 the reward rises while every coefficient's win rate collapses below SFT's and"
        " the entropy bonus rises; at 1e-7 the reward rises moderately, the bonus decays, and win rates end above"
        " SFT's, about as high without a bonus as with one.",
        ("ME-1B-1e-6", "ME-1B-1e-7"),
        draw_figure_1,
    ),
    "figure-2": PaperFigure(
        "At 2.8B every coefficient over-optimizes at 1e-7 and even at 5e-8: no win rate ends above SFT's.",
        ("ME-2.8B-1e-7", "ME-2.8B-5e-8"),
        draw_figure_2,
    ),
    "figure-3": PaperFigure(
        "KL to the reference grows and then flattens in KL-constrained runs and keeps growing about linearly in MaxEnt"
        " runs; KL between consecutive policies stays bounded in the former and increases in the latter.",
        ("KL-1B", "KL-2.8B", "ME-1B-1e-6", "ME-1B-1e-7", "ME-2.8B-1e-7", "ME-2.8B-5e-8"),
        draw_figure_3,
    ),
    "figure-4": PaperFigure(
        "The reference's log-ratio margins stay in a narrow band with a slightly negative mean and no trend.",
        ("DPO-1B",),
        draw_figure_4,
    ),
    "figure-5": PaperFigure(
        "At 1B some MaxEnt curves with nearly linear KL end with a check (high win rate); at 2.8B MaxEnt curves end"
        " with a cross (over-optimized) at KL similar to that of the checks at 1B.",
        ("KL-1B", "KL-2.8B", "ME-1B-1e-6", "ME-1B-1e-7", "ME-2.8B-1e-7", "ME-2.8B-5e-8"),
        draw_figure_5,
    ),
    "figure-6": PaperFigure(
        "SimPO at 1B and 2e-7 gains over SFT, most with a suitable margin γ > 0.", ("SIMPO-1B-2e-7",), draw_figure_6
    ),
    "figure-7": PaperFigure(
        "SimPO at 2e-7: mild changes of loss, gradients, logits, rewards and log-probabilities at every γ.",
        ("SIMPO-1B-2e-7",),
        draw_figure_7,
    ),
    "figure-8": PaperFigure(
        "SimPO at 1e-6: the log-probabilities of chosen and rejected completions fall far, the more the larger γ.",
        ("SIMPO-1B-1e-6",),
        draw_figure_8,
    ),
    "figure-9": PaperFigure(
        "DPO at 1e-6 (β = 0.05): moderate changes of the same metrics.", ("DPO-1B",), draw_figure_9
    ),
    "figure-10": PaperFigure(
        "MaxEnt at 6.9B and 1e-6 over-optimizes: entropy bonus and KL rise.", ("ME-6.9B-1e-6",), draw_figure_10
    ),
    "figure-11": PaperFigure(
        "MaxEnt at 6.9B and 1e-7 is stable: KL to the reference grows about linearly, and KL between consecutive"
        " policies rises nevertheless.",
        ("ME-6.9B-1e-7",),
        draw_figure_11,
    ),
    "figure-12": PaperFigure(
        "KL-constrained training at 6.9B: the reward rises, KL to the reference is small and flattens, and KL between"
        " consecutive policies stays bounded.",
        ("KL-6.9B",),
        draw_figure_12,
    ),
}

"""Figure 6: SimPO's win rate over its checkpoints, by margin."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from overopt.outcomes import paired
from overopt.replication.figures.drawing import (
    COLUMN,
    RULE,
    Figure,
    Line,
    colors_of,
    grid,
    make_block,
    scale_text,
    win_rate_legend,
    win_rate_panel,
)
from overopt.replication.figures.over_seeds import final_win_rates, mean_text, pooled_label, sft_win_rate, share_text
from overopt.replication.figures.wording import of, sentence
from overopt.replication.members import Member, Members

ROW = "SIMPO-1B-2e-7"


def draw_figure_6(members: Members) -> Figure | None:
    lines = grid(members, ROW, "gamma", colors_of(members, [ROW], "gamma"))
    block = make_block("", [win_rate_panel("figure-6", lines)], win_rate_legend(lines, "γ", RULE))
    if block is None:
        return None
    caption = (
        "Win rates on held-out prompts at evaluations: means over seeds, with 95 % intervals (Student's t). Dashed"
        " gray: SFT. γ = 0 is drawn dashed."
    )
    title = "Figure 6. SimPO over checkpoints, 1B, low learning rate"
    return Figure("figure-6", title, _says(lines), caption, scale_text(members), (block,), COLUMN, 120)


def _says(lines: Sequence[Line]) -> str:
    means = {line: fmean(rates) for line in lines if (rates := final_win_rates(line.runs))}
    above = sum(pooled_label(line.runs) == "GOOD" for line in lines)
    sft = sft_win_rate([run for line in lines for run in line.runs])
    zero = next((line for line in means if line.entry == "0"), None)
    best = max((line for line in means if line is not zero), key=lambda line: means[line], default=None)
    said = [f"{of(above, len(lines))} margins end above SFT" + ("" if sft is None else f" ({sft:.2f})")]
    if zero is not None:
        said.append(f"γ = 0 ends at {share_text(final_win_rates(zero.runs))}")
    if best is not None:
        said.append(f"the best γ > 0, {best.entry}, at {share_text(final_win_rates(best.runs))}")
    if zero is not None and best is not None and (differences := _differences(best.runs, zero.runs)):
        said.append(f"a difference of {mean_text(differences)} on the same prompts, over seeds")
    return sentence(*said)


def _differences(runs: Sequence[Member], others: Sequence[Member]) -> list[float]:
    """By seed the final win rate of one setting minus that of another, on the prompts of both."""
    by_seed = {run.seed: run.won[max(run.won)] for run in others if run.won}
    pairs = [(run.won[max(run.won)], by_seed[run.seed]) for run in runs if run.won and run.seed in by_seed]
    return [paired(dict(a), dict(b)).mean for a, b in pairs if a.keys() & b.keys()]

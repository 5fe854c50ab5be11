"""Figures 1 and 2: reward, entropy bonus and win rate of MaxEnt at two learning rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from overopt.replication.figures.drawing import (
    RULE,
    Block,
    Figure,
    Line,
    colors_of,
    grid,
    make_block,
    number,
    panel,
    scale_text,
    win_rate_legend,
    win_rate_panel,
)
from overopt.replication.figures.over_seeds import Axis, final_win_rates, pooled_label, series, share_text
from overopt.replication.figures.wording import of, proxy_says, sentence, trend_says, win_rates_say
from overopt.replication.members import Member, Members, Points

BONUS = "entropy bonus (coefficient 0, dashed: −log π per token)"
BONUS_AXIS = Axis(linear_below=0.01)

CAPTION = (
    "Columns: learning rates, named as in the paper, with ours in parentheses. Lines: means over seeds of batches,"
    " averaged over blocks of updates; win rates on held-out prompts at evaluations. Bands: 95 % intervals over seeds"
    " (Student's t). The RLHF reward is the reward model's score plus the bonus; below it the score alone. The bonus is"
    " on a logarithmic axis, where bonuses of any coefficient rise and fall alike; coefficient 0 has none, so −log π"
    " per token stands for it."
)


def bonus(run: Member) -> Points | None:
    """The entropy bonus; for coefficient 0, of which it is always 0, what a coefficient of 1 would make it."""
    return run.series.get("neg_logp_tok" if run.setting.get("coef") == 0 else "bonus_mean")


def draw_figure_1(members: Members) -> Figure | None:
    rates = {"ME-1B-1e-6": "high", "ME-1B-1e-7": "low"}
    return _two_rates(members, "figure-1", "Figure 1. MaxEnt at 1B", rates)


def draw_figure_2(members: Members) -> Figure | None:
    rates = {"ME-2.8B-1e-7": "low", "ME-2.8B-5e-8": "lowest"}
    return _two_rates(members, "figure-2", "Figure 2. MaxEnt at 2.8B", rates)


def _two_rates(members: Members, name: str, title: str, rates: Mapping[str, str]) -> Figure | None:
    colors = colors_of(members, list(rates), "coef")
    lines = {row: grid(members, row, "coef", colors) for row in rates}
    blocks = [_block(f"{name}-{rate}", rate, row, lines[row]) for row, rate in rates.items()]
    drawn = tuple(block for block in blocks if block is not None)
    if not drawn:
        return None
    shows = " ".join(_says(rate, lines[row]) for row, rate in rates.items() if lines[row])
    return Figure(name, title, shows, CAPTION, scale_text(members), drawn)


def _block(name: str, rate: str, row: str, lines: Sequence[Line]) -> Block | None:
    panels = [
        panel(f"{name}-reward", "RLHF reward", lines, series("rlhf_reward")),
        panel(f"{name}-score", "of it the reward model's score", lines, series("score_mean")),
        panel(f"{name}-bonus", BONUS, lines, bonus, axis=BONUS_AXIS),
        win_rate_panel(f"{name}-won", lines),
    ]
    return make_block(rate_title(rate, row, lines), panels, win_rate_legend(lines, "coefficient", RULE))


def rate_title(rate: str, row: str, lines: Sequence[Line]) -> str:
    """`high learning rate 1e-6 (here 0.0005)`."""
    ours = sorted({run.lr for line in lines for run in line.runs if "lr" in run.config})
    return f"{rate} learning rate {row[-4:]}" + (f" (here {', '.join(map(number, ours))})" if ours else "")


def _says(rate: str, lines: Sequence[Line]) -> str:
    runs = [run for line in lines for run in line.runs]
    good = sum(pooled_label(line.runs) == "GOOD" for line in lines)
    means = {line: final_win_rates(line.runs) for line in lines}
    best = max((line for line in lines if means[line]), key=lambda line: fmean(means[line]), default=None)
    return sentence(
        f"{rate} learning rate: {proxy_says(runs)}",
        win_rates_say(runs),
        trend_says("the entropy bonus", runs, bonus),
        f"over all seeds {of(good, len(lines))} coefficients end above SFT",
        f"the best, {best.entry}, ends at {share_text(means[best])}" if best else "",
        *(f"coefficient 0 at {share_text(means[line])}" for line in lines if line.entry == "0" and line is not best),
    )

"""Figures 10, 11 and 12: the largest model, MaxEnt at two learning rates and KL-constrained."""

from __future__ import annotations

from collections.abc import Sequence

from overopt.replication.figures.drawing import (
    BLACK,
    COLUMN,
    Figure,
    Line,
    colors_of,
    grid,
    make_block,
    panel,
    scale_text,
    win_rate_legend,
)
from overopt.replication.figures.kl import KL_PREV, KL_REF, STEP_AXIS, kl_prev, kl_ref
from overopt.replication.figures.online import BONUS, BONUS_AXIS, bonus, rate_title
from overopt.replication.figures.over_seeds import final_win_rates, series, share_text
from overopt.replication.figures.wording import ends_say, halves_say, proxy_says, sentence, trend_says, win_rates_say
from overopt.replication.members import Member, Members

CAPTION = (
    "Lines: means over seeds of batches, averaged over blocks of updates; bands: 95 % intervals over seeds (Student's"
    " t). KL to the reference is on a linear axis, so that straight growth is straight. Bonus and consecutive KL are on"
    " logarithmic axes, with geometric means; −log π per token stands for the bonus of coefficient 0. The paper gives"
    " no win rates here; ours are in the legend."
)


def draw_figure_10(members: Members) -> Figure | None:
    return _maxent(members, "figure-10", "Figure 10. MaxEnt at 6.9B, high learning rate", "high", "ME-6.9B-1e-6")


def draw_figure_11(members: Members) -> Figure | None:
    return _maxent(members, "figure-11", "Figure 11. MaxEnt at 6.9B, low learning rate", "low", "ME-6.9B-1e-7")


def draw_figure_12(members: Members) -> Figure | None:
    runs = members.of("KL-6.9B")
    lines = [Line("KL-constrained", runs, BLACK)] if runs else []
    panels = [
        panel("figure-12-ref", KL_REF, lines, kl_ref),
        panel("figure-12-reward", "RLHF reward", lines, series("rlhf_reward")),
        panel("figure-12-prev", KL_PREV, lines, kl_prev, axis=STEP_AXIS),
    ]
    block = make_block("", panels, win_rate_legend(lines, "objective"))
    if block is None:
        return None
    caption = (
        "Lines: means over seeds of batches, averaged over blocks of updates; bands: 95 % intervals over seeds"
        " (Student's t). Consecutive KL is on a logarithmic axis, with geometric means."
    )
    shows = sentence(trend_says("the RLHF reward", runs, series("rlhf_reward")), *_dynamics(runs), _wins(runs))
    title = "Figure 12. KL-constrained at 6.9B"
    return Figure("figure-12", title, shows, caption, scale_text(members), (block,), COLUMN, 70)


def _maxent(members: Members, name: str, title: str, rate: str, row: str) -> Figure | None:
    lines = grid(members, row, "coef", colors_of(members, [row], "coef"))
    panels = [
        panel(f"{name}-reward", "RLHF reward", lines, series("rlhf_reward")),
        panel(f"{name}-ref", KL_REF, lines, kl_ref),
        panel(f"{name}-bonus", BONUS, lines, bonus, axis=BONUS_AXIS),
        panel(f"{name}-prev", KL_PREV, lines, kl_prev, axis=STEP_AXIS),
    ]
    block = make_block(
        rate_title(rate, row, lines), panels, win_rate_legend(lines, "coefficient"), per_row=2
    )  # fmt: skip
    if block is None:
        return None
    runs = [run for line in lines for run in line.runs]
    shows = sentence(
        proxy_says(runs), win_rates_say(runs), trend_says("the entropy bonus", runs, bonus), *_dynamics(runs)
    )
    return Figure(name, title, shows, CAPTION, scale_text(members), (block,), height=80)


def _dynamics(runs: Sequence[Member]) -> list[str]:
    return [
        f"{ends_say('KL to the reference', runs, kl_ref, 'nats')} ({halves_say(runs, kl_ref)})",
        trend_says("KL between consecutive policies", runs, kl_prev),
    ]


def _wins(runs: Sequence[Member]) -> str:
    rates = final_win_rates(runs)
    return f"{win_rates_say(runs)}, at {share_text(rates)} over seeds" if rates else ""

"""One sentence for each group of runs that says what happened, with its numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from overopt.analysis.report.collect import Group, ReportedRun
from overopt.analysis.run_summary import verdict
from overopt.analysis.text import percent
from overopt.outcomes import OVER_OPTIMIZED
from overopt.statistics import interquartile_mean

NAMED = 4
"""Most runs that a sentence names."""

OUTCOME_WORDS: dict[str | None, str] = {
    **dict.fromkeys(OVER_OPTIMIZED, "over-optimized"),
    "COLLAPSE": "broke down",
    "GOOD": "improved on SFT",
    **dict.fromkeys(("FLAT", "STALL"), "did not clearly change"),
    None: "not judged",
}
"""What became of a run, in words, by its label."""


def sentence(group: Group) -> str:
    """The verdict on a group, by the judge whose labels come first."""
    return (f"By {group.judges[0]}: " if group.names_judges else "") + _sentence(group)


def _sentence(group: Group) -> str:
    if len(group.records) == 1:
        return f"{group.records[0].name}: {verdict(group.records[0].row)}"
    over = len(_that_became(group.records, "over-optimized"))
    said = _by_setting(group.records) if group.has_seeds else _by_outcome(group.records)
    return f"Of {len(group.records)} runs{_start(group.records)}, {over or 'none'} over-optimized: {'; '.join(said)}."


def _by_outcome(records: Sequence[ReportedRun]) -> list[str]:
    over, broken, good, rest, unjudged = (
        _that_became(records, became) for became in dict.fromkeys(OUTCOME_WORDS.values())
    )
    said = [
        _over(over),
        f"{_names(broken)} broke down to a win rate of {_rates(broken)}" if broken else "",
        _good(good),
        f"{_names(rest)} did not clearly change ({_rates(rest)})" if rest else "",
        f"not judged: {_names(unjudged)}" if unjudged else "",
    ]
    return [part for part in said if part]


def _by_setting(records: Sequence[ReportedRun]) -> list[str]:
    """One clause for each setting, which counts the outcomes of its seeds."""
    said = []
    for setting in dict.fromkeys(record.setting for record in records):
        members = [record for record in records if record.setting == setting]
        counts = Counter(OUTCOME_WORDS[record.row.label] for record in members)
        rates = [record.row.win_rate for record in members if record.row.win_rate is not None]
        rate = f" (win rate {interquartile_mean(rates):.0%}, interquartile mean)" if rates else ""
        said.append(f"{setting}: {', '.join(f'{count} {became}' for became, count in counts.items())}{rate}")
    return said


def _that_became(records: Sequence[ReportedRun], became: str) -> list[ReportedRun]:
    return [record for record in records if OUTCOME_WORDS[record.row.label] == became]


def _start(records: Sequence[ReportedRun]) -> str:
    starts = [record.row.sft_win_rate for record in records if record.row.sft_win_rate is not None]
    return f", starting from SFT's {_range(starts, '{:.0%}')}" if starts else ""


def _over(records: Sequence[ReportedRun]) -> str:
    if not records:
        return ""
    changes = [
        row.proxy_end - row.proxy_start
        for record in records
        if (row := record.row).proxy_end is not None and row.proxy_start is not None
    ]
    rise = f"the proxy rose by {_range(changes, '{:+.2f}')} while " if changes else ""
    return f"{_names(records)} ({rise}the win rate ended at {_rates(records)})"


def _good(records: Sequence[ReportedRun]) -> str:
    if not records:
        return ""
    best = max(records, key=lambda record: record.row.win_rate or 0.0)
    row = best.row
    interval = (
        f" [{row.win_rate_low:.0%}, {row.win_rate_high:.0%}]"
        if row.win_rate_low is not None and row.win_rate_high is not None
        else ""
    )
    return f"{_names(records)} improved on SFT, the best, {best.name}, to {percent(row.win_rate)}{interval}"


def _names(records: Sequence[ReportedRun]) -> str:
    names = [record.name for record in records]
    if len(names) > NAMED:
        return f"{len(names)} runs ({', '.join(names[:NAMED])} and {len(names) - NAMED} more)"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _rates(records: Sequence[ReportedRun]) -> str:
    return _range([record.row.win_rate for record in records if record.row.win_rate is not None], "{:.0%}")


def _range(values: Sequence[float], form: str) -> str:
    low, high = (form.format(bound) for bound in (min(values), max(values))) if values else ("?", "?")
    return low if low == high else f"{low} to {high}"

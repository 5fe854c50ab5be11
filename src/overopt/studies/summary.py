"""What is made of a study's records: rows for its table and `summary.json`, a figure, and a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from overopt.analysis.run_summary import RunSummary, describe_baselines, summarize_run
from overopt.outcomes import JUDGED_STAGES
from overopt.records import find_runs
from overopt.records.layout import RUNS, SUMMARY
from overopt.records.study_folder import write_summary
from overopt.scheduler import Result
from overopt.studies.run import StudyRun

FIGURES, REPORT = ("figure.svg", "figure.png"), "report.html"


def summarize(study_run: StudyRun, results: Mapping[str, Result]) -> list[RunSummary]:
    """A row for each run that is judged or has no children, made now or before; written to `summary.json`, too."""
    runs = study_run.study.runs
    parents = {parent for run in runs.values() for parent in run.parents}
    rows = []
    for name, run in runs.items():
        judged = run.stage in JUDGED_STAGES
        if (judged or name not in parents) and (name in results or study_run.record(name) is not None):
            row = _row(study_run, name, results.get(name, Result("finished")))
            rows.append(row if judged else replace(row, objective=run.stage))
    write_summary(study_run.out, [row.summary() for row in rows])
    return rows


def draw_figure(study_run: StudyRun, rows: Sequence[RunSummary]) -> list[Path]:
    """Write win rate and proxy of the runs that left evaluations; the files, none if no run did."""
    from overopt.analysis.charts import write_chart
    from overopt.analysis.study_figure import curve_of, win_rate_and_proxy

    records = [(row, study_run.record(row.run)) for row in rows]
    curves = [curve_of(row.run, run, row.label) for row, run in records if run is not None]
    if not any(curve.rows for curve in curves):
        return []
    sft = next((row.sft_win_rate for row in rows if row.sft_win_rate is not None), None)
    chart = win_rate_and_proxy(curves, study_run.title, sft)
    files = [study_run.out / name for name in FIGURES]
    for file in files:
        write_chart(chart, file)
    return files


def write_study_report(study_run: StudyRun) -> Path | None:
    """Write the page about all runs in the study's folder; None if no run left a record."""
    from overopt.analysis.report.collect import collect
    from overopt.analysis.report.write import write_report

    runs = study_run.out / RUNS
    if not runs.is_dir() or not find_runs(runs):
        return None
    return write_report(collect([runs]), study_run.out / REPORT, title=study_run.title)[0]


def conclude(study_run: StudyRun) -> Iterator[str]:
    """Write what the study's records show; a line for each result or file."""
    from overopt.replication.members import load_members
    from overopt.replication.results import write_results

    yield f"summary: {study_run.out / SUMMARY}"
    if any(study_run.record(run) is not None for run in study_run.study.runs):
        yield from write_results(load_members(study_run.out), study_run.out)


def baseline_lines(study_run: StudyRun) -> list[str]:
    """A line for each reward model that says whether it orders held-out pairs better than counting words does."""
    records = [study_run.record(run.name) for run in study_run.study.runs.values() if run.stage == "reward_model"]
    return [line for record in records if record is not None and (line := describe_baselines(record))]


def _row(study_run: StudyRun, name: str, result: Result) -> RunSummary:
    config, record = study_run.study.runs[name].config, study_run.record(name)
    if result.status == "skipped" or (result.status == "failed" and (record is None or record.status != "diverged")):
        reason = result.message if result.status == "skipped" else f"the run failed: {result.message}"
        return summarize_run(name, config, record, reason=reason)
    closed = study_run.closed_gate(name)
    if closed is not None:
        return summarize_run(name, config, record, gate=closed[0].name, reason=closed[1])
    return summarize_run(name, config, record)

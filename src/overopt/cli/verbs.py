"""One function per verb: runs it with parsed options and returns the exit code. Imports happen when a verb runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from overopt.scheduler import Result
    from overopt.studies.run import StudyRun

DONE, OUR_FAULT, USERS_INPUT, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
"""Exit codes."""

PRINTED = ("step", "win_rate", "proxy_mean", "gold_mean", "kl_ref", "accuracy", "agreement_ratio", "above_baselines")
"""Metrics of a run's last evaluation that `train` prints."""


def train(options: argparse.Namespace) -> int:
    from overopt.scheduler.terminal import single_job
    from overopt.training.train import train as train_stage

    with single_job(options.out) as (progress, notice):
        run = train_stage(
            options.config,
            options.out,
            options.overrides,
            progress=lambda now: progress(now.step, now.steps, now.metrics),
            notice=notice,
        )
    last = (run.evaluations() or [{}])[-1]
    numbers = "  ".join(f"{key} {last[key]:.4g}" for key in PRINTED if last.get(key) is not None)
    print(f"{run.path}: {run.status}" + (f"; {numbers}" if numbers else ""))
    return DONE


def demo(options: argparse.Namespace) -> int:
    from overopt.studies.run import packaged_run

    return _run_study(packaged_run("demo", options.out, options.scale, options.seed), options.workers)


def sweep(options: argparse.Namespace) -> int:
    from overopt.studies.run import sweep_run

    out = options.out or Path("overopt-sweep") / options.file.stem
    return _run_study(sweep_run(options.file, out, options.only), options.workers)


def _run_study(study_run: StudyRun, workers: int | None) -> int:
    """Run a study and print its table; what it has written is named below the table."""
    from overopt.analysis.summary_table import print_table
    from overopt.records import RunLock
    from overopt.records.layout import SUMMARY
    from overopt.scheduler import available_cores
    from overopt.scheduler.terminal import Reporter
    from overopt.studies.run import claim_folder, run_studies
    from overopt.studies.summary import baseline_lines, draw_figure, summarize, write_study_report

    claim_folder(study_run)
    out, jobs, total = study_run.out, study_run.jobs, len(study_run.study.runs)
    workers = workers or available_cores()
    with RunLock(out) as lock, Reporter(jobs, workers) as reporter:
        lock.acquire()
        count = f"{total} runs" if len(jobs) == total else f"{len(jobs)} of {total} runs"
        reporter.say(f"{study_run.title}: {count}, {workers} at a time, in {out}")
        results = run_studies([study_run], workers=workers, on_event=reporter)
    rows = summarize(study_run, results)
    figure = draw_figure(study_run, rows)
    print_table(rows, study_run.title)
    statuses = [result.status for result in results.values()]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses))
    print("", *baseline_lines(study_run), f"{counts}; summary: {out / SUMMARY}", sep="\n")
    if figure:
        print(f"figure: {figure[0]} and {figure[1].suffix}", flush=True)
    if (page := write_study_report(study_run)) is not None:
        print(f"report: {page}")
    return worst_of(results)


def watch(options: argparse.Namespace) -> int:
    from overopt.analysis.status_table import watch_runs

    watch_runs(options.runs, every=options.every, once=options.once)
    return DONE


def evaluate(options: argparse.Namespace) -> int:
    from overopt.evaluation import evaluate_run
    from overopt.scheduler.terminal import single_job

    with single_job(options.run) as (progress, notice):
        rows = evaluate_run(options.run, options.judge, options.split, progress, notice)
    for row in rows:
        numbers = "  ".join(f"{key} {row[key]:.4g}" for key in PRINTED[1:] if row.get(key) is not None)
        print(f"step {row['step']:>5}  {row['split']}  {row['judge']}  {numbers}")
    return DONE


def log(options: argparse.Namespace) -> int:
    from overopt.integrations.replay import replay
    from overopt.integrations.sinks import sink_from

    for sink in [sink_from(text) for text in options.sink]:
        steps = replay(options.run, sink)
        print(f"{options.run}: {steps} steps sent to {type(sink).__name__}")
    return DONE


def best_of_n(options: argparse.Namespace) -> int:
    from overopt.analysis.best_of_n import best_of_n as curve_of
    from overopt.analysis.best_of_n_view import draw_best_of_n, figure_path, text_report
    from overopt.analysis.charts import write_chart
    from overopt.analysis.scored_sets import read_scored_set
    from overopt.analysis.text import escape_controls

    out = figure_path(options.out, options.format, options.sources[0].resolve())
    scored = read_scored_set(options.sources, options.rouge)
    curve = curve_of(scored.prompts)
    print(text_report(scored, curve), flush=True)
    write_chart(draw_best_of_n(scored, curve), out)
    print(f"\nfigure: {escape_controls(str(out))}")
    return DONE


def report(options: argparse.Namespace) -> int:
    from overopt.analysis.report.collect import collect
    from overopt.analysis.report.write import check_out, figures_folder, make_page, write_report

    check_out(options.out, options.figures)
    collection = collect(options.runs)
    for reason in collection.left_out:
        print(f"overopt: left out: {reason}", file=sys.stderr)
    if options.serve:
        from overopt.analysis.report.serve import serve

        serve(lambda: make_page(collect(options.runs), options.figures), lambda text: print(text, flush=True))
        return DONE
    files = write_report(collection, options.out, options.format, options.figures)
    runs = f"{len(collection.records)} run" + ("" if len(collection.records) == 1 else "s")
    figures = len(files) - ("html" in options.format)
    print(f"report: {options.out} ({runs})" if "html" in options.format else f"report: {runs}")
    print(
        f"figures: {figures} in {figures_folder(options.out)}"
        if figures
        else "figures: none, the runs have no numbers for them"
    )
    return DONE


def plan(options: argparse.Namespace) -> int:
    from overopt.planning import plan_all, table
    from overopt.studies.planning import missing_parents, stages_of

    stages = stages_of(options.config, options.scale, options.overrides)
    plans = plan_all(stages, options.device, missing_parents(options.config, stages))
    rows = [stage.row(options.price) for stage in plans]
    print(json.dumps(rows, indent=1) if options.json else table(plans, options.price))
    return DONE


def theory(options: argparse.Namespace) -> int:
    from overopt.theory.statements import verify
    from overopt.theory.table import checks_table

    checks = verify()
    print(json.dumps([check.row() for check in checks], indent=1) if options.json else checks_table(checks))
    return DONE if all(check.holds for check in checks) else OUR_FAULT


def claims(options: argparse.Namespace) -> int:
    from overopt.config import load
    from overopt.replication.claims.check import check, study_of
    from overopt.replication.claims.table import print_claims
    from overopt.replication.claims.thresholds import Thresholds

    thresholds = load(Thresholds, {}, options.overrides)
    rows = check(study_of(options.study), thresholds)
    if options.json:
        print(json.dumps([row.row() for row in rows], indent=1))
    else:
        print_claims(rows, f"The claims of the paper, tested on {options.study}")
    return DONE


def objectives(options: argparse.Namespace) -> int:
    from overopt.objectives.dictionary import dictionary
    from overopt.objectives.pages import page, table

    if options.json:
        print(json.dumps(dictionary(options.name), indent=1, ensure_ascii=False))
    else:
        print(table() if options.name is None else page(options.name))
    return DONE


def worst_of(results: Mapping[str, Result]) -> int:
    """Return the exit code of the worst outcome among the runs."""
    failed = [result for result in results.values() if result.status == "failed"]
    if any(result.traceback is not None for result in failed):
        return OUR_FAULT
    return USERS_INPUT if failed else DONE

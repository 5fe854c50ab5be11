"""What each verb does with its parsed options; the exit code is returned. Each imports what it needs when it runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from overopt.scheduler import Result

DONE, OUR_FAULT, USERS_INPUT, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
"""Exit codes."""

SHOWN = ("step", "win_rate", "proxy_mean", "gold_mean", "kl_ref", "accuracy", "agreement_ratio", "above_baselines")
"""What `train` says of a run's last evaluation."""


def demo(options: argparse.Namespace) -> int:
    from overopt.analysis.run_summary import print_table
    from overopt.records import RunLock
    from overopt.scheduler import available_cores
    from overopt.scheduler.terminal import Reporter
    from overopt.studies.demo import (
        FIGURE,
        Setting,
        claim,
        conclude,
        demo_study,
        draw,
        report_on,
        run_settings,
        said_of_proxies,
    )
    from overopt.studies.folder import SUMMARY

    study = demo_study()
    scale = options.scale or study.default_scale
    out = options.out or Path("overopt-demo") / f"{scale}-seed-{options.seed}"
    setting = Setting(out, scale, options.seed)
    claim(study, setting)
    workers = options.workers or available_cores()
    with RunLock(out) as lock, Reporter(setting.jobs(study), workers) as reporter:
        lock.acquire()
        reporter.say(f"{len(study.runs)} runs, scale {scale}, seed {options.seed}, {workers} at a time, in {out}")
        results = run_settings(study, [setting], workers=workers, on_event=reporter)
    rows = conclude(study, setting, results)
    title = f"Miniature study, scale {scale}, seed {options.seed}"
    figure = draw(setting, rows, title)
    print_table(rows, title)
    print("", *said_of_proxies(study, setting), f"summary: {out / SUMMARY}", sep="\n")
    if figure:
        print(f"figure: {out / FIGURE}.svg and .png", flush=True)
    if (page := report_on(setting, title)) is not None:
        print(f"report: {page}")
    return worst_of(results)


def train(options: argparse.Namespace) -> int:
    from overopt.scheduler.terminal import lone_job
    from overopt.training.train import train as train_stage

    with lone_job(options.out) as (progress, notice):
        run = train_stage(
            options.config,
            options.out,
            options.overrides,
            progress=lambda now: progress(now.step, now.steps, now.metrics),
            notice=notice,
        )
    last = (run.evaluations() or [{}])[-1]
    numbers = "  ".join(f"{key} {last[key]:.4g}" for key in SHOWN if last.get(key) is not None)
    print(f"{run.path}: {run.status}" + (f"; {numbers}" if numbers else ""))
    return DONE


def sweep(options: argparse.Namespace) -> int:
    from overopt.analysis.run_summary import print_table
    from overopt.records import RunLock
    from overopt.scheduler import available_cores
    from overopt.scheduler.terminal import Reporter
    from overopt.studies.folder import SUMMARY
    from overopt.studies.sweeping import claim_sweep, conclude_sweep, load_sweep, run_sweep, sweep_jobs

    out = options.out or Path("overopt-sweep") / options.file.stem
    whole, study = load_sweep(options.file, out, options.only)
    claim_sweep(whole, out)
    workers = options.workers or available_cores()
    with RunLock(out) as lock, Reporter(sweep_jobs(study, out), workers) as reporter:
        lock.acquire()
        reporter.say(f"{len(study.runs)} of {len(whole.runs)} runs, {workers} at a time, in {out}")
        results = run_sweep(study, out, workers=workers, on_event=reporter)
    print_table(conclude_sweep(whole, out, results), whole.name)
    statuses = [result.status for result in results.values()]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses))
    print(f"\n{counts}; summary: {out / SUMMARY}\nreport: overopt report {out / 'runs'}", flush=True)
    return worst_of(results)


def watch(options: argparse.Namespace) -> int:
    from overopt.analysis.status_table import watch_runs

    watch_runs(options.runs, every=options.every, once=options.once)
    return DONE


def evaluate(options: argparse.Namespace) -> int:
    from overopt.evaluation import evaluate_run
    from overopt.scheduler.terminal import lone_job

    with lone_job(options.run) as (progress, notice):
        rows = evaluate_run(options.run, options.judge, options.split, progress, notice)
    for row in rows:
        numbers = "  ".join(f"{key} {row[key]:.4g}" for key in SHOWN[1:] if row.get(key) is not None)
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
    from overopt.analysis.best_of_n_view import figure, figure_path, save_figure, text_report
    from overopt.analysis.scored_sets import read_scored_set
    from overopt.analysis.text import escape_controls

    out = figure_path(options.out, options.format, options.sources[0].resolve())
    scored = read_scored_set(options.sources, options.rouge)
    curve = curve_of(scored.prompts)
    print(text_report(scored, curve), flush=True)
    save_figure(figure(scored, curve), out)
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
    from overopt.studies.planning import stages_of

    plans = plan_all(stages_of(options.config, options.scale, options.overrides), options.device)
    rows = [stage.row(options.price) for stage in plans]
    print(json.dumps(rows, indent=1) if options.json else table(plans, options.price))
    return DONE


def theory(options: argparse.Namespace) -> int:
    from overopt.theory.statements import verify
    from overopt.theory.table import text_table

    checks = verify()
    print(json.dumps([check.row() for check in checks], indent=1) if options.json else text_table(checks))
    return DONE if all(check.holds for check in checks) else OUR_FAULT


def objectives(options: argparse.Namespace) -> int:
    from overopt.objectives.dictionary import dictionary
    from overopt.objectives.pages import page, table

    if options.json:
        print(json.dumps(dictionary(options.name), indent=1, ensure_ascii=False))
    else:
        print(table() if options.name is None else page(options.name))
    return DONE


def worst_of(results: Mapping[str, Result]) -> int:
    """The worst of what became of the runs."""
    failed = [result for result in results.values() if result.status == "failed"]
    if any(result.traceback is not None for result in failed):
        return OUR_FAULT
    return USERS_INPUT if failed else DONE

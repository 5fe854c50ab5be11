"""One function per verb: runs it with parsed options and returns the exit code. Imports happen when a verb runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from overopt.errors import UserError

if TYPE_CHECKING:
    from overopt.evaluation.judges import JudgeProtocol
    from overopt.scheduler import Result
    from overopt.statistics.power import Comparison
    from overopt.studies.run import StudyRun

DONE, OUR_FAULT, USERS_INPUT, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
"""Exit codes."""

PRINTED = ("step", "win_rate", "proxy_mean", "gold_mean", "kl_ref", "accuracy", "agreement_ratio", "above_baselines")
"""Metrics of a run's last evaluation that `train` prints."""


def train(options: argparse.Namespace) -> int:
    from overopt.engine.ranks import is_main
    from overopt.scheduler.terminal import single_job
    from overopt.training.train import train as train_stage

    with single_job(options.out, silent=not is_main()) as (progress, notice):
        run = train_stage(
            options.config,
            options.out,
            options.overrides,
            progress=lambda now: progress(now.step, now.steps, now.metrics),
            notice=notice,
        )
    if not is_main():
        return DONE
    last = (run.evaluations() or [{}])[-1]
    numbers = "  ".join(f"{key} {last[key]:.4g}" for key in PRINTED if last.get(key) is not None)
    print(f"{run.path}: {run.status}" + (f"; {numbers}" if numbers else ""))
    return DONE


def demo(options: argparse.Namespace) -> int:
    from overopt.studies.run import packaged_run

    return _run_study(packaged_run("demo", options.out, options.scale, options.seed), options)


def study(options: argparse.Namespace) -> int:
    from overopt.studies.run import list_studies, plan_members, replication_run
    from overopt.studies.summary import conclude, summarize, write_study_report

    if options.name is None:
        print(list_studies())
        return DONE
    if options.quick and options.scale_set:
        raise UserError("--quick: is a scale set of its own; leave --scale-set out")
    scale = "quick" if options.quick else options.scale_set
    study_run = replication_run(options.name, options.out, scale, options.seeds, options.only, options.inputs)
    judge = _judge_of(study_run, options.judge)
    results = _run(study_run, options, prepare=plan_members)
    _judge_runs(study_run, judge)
    summarize(study_run, results)
    print(_counts(results))
    for line in conclude(study_run):
        print(line, flush=True)
    if judge is not None and (page := write_study_report(study_run)) is not None:
        print(f"report: {page}")
    return worst_of(results)


def sweep(options: argparse.Namespace) -> int:
    from overopt.studies.run import sweep_run

    out = options.out or Path("overopt-sweep") / options.file.stem
    study_run = sweep_run(options.file, out, options.only)
    return _run_study(study_run, options, _judge_of(study_run, options.judge))


def _run_study(study_run: StudyRun, options: argparse.Namespace, judge: JudgeProtocol | None = None) -> int:
    """Run a study and print its table; what it has written is named below the table."""
    from overopt.analysis.summary_table import print_table
    from overopt.records.layout import SUMMARY
    from overopt.studies.summary import baseline_lines, draw_figure, summarize, write_study_report

    results = _run(study_run, options)
    _judge_runs(study_run, judge)
    rows = summarize(study_run, results)
    figure = draw_figure(study_run, rows)
    print_table(rows, study_run.title)
    print("", *baseline_lines(study_run), f"{_counts(results)}; summary: {study_run.out / SUMMARY}", sep="\n")
    if figure:
        print(f"figure: {figure[0]} and {figure[1].suffix}", flush=True)
    if (page := write_study_report(study_run)) is not None:
        print(f"report: {page}")
    return worst_of(results)


def _run(
    study_run: StudyRun, options: argparse.Namespace, prepare: Callable[[StudyRun], None] = lambda run: None
) -> dict[str, Result]:
    """Run a study with its progress on stderr, after saying what it will cost."""
    from overopt.records import RunLock
    from overopt.scheduler import executor_for
    from overopt.scheduler.terminal import Reporter
    from overopt.studies.run import claim_folder, run_studies

    jobs = study_run.jobs
    executor = executor_for(jobs, options.workers, cluster=options.ray)
    claim_folder(study_run)
    with RunLock(study_run.out) as lock, Reporter(jobs, executor.count) as reporter:
        lock.acquire()
        prepare(study_run)
        reporter.say(f"{study_run.title}: {study_run.extent(executor.count)}, in {study_run.out}")
        return run_studies([study_run], on_event=reporter, executor=executor)


def _judge_of(study_run: StudyRun, named: str | None) -> JudgeProtocol | None:
    """The judge that is named, or else the study's own; UserError, before anything is trained, if it cannot judge."""
    from overopt.evaluation.judges import judge_from

    judge = study_run.study.judge if named is None else None if named == "none" else judge_from(named)
    if judge is not None:
        try:
            judge.check()
        except UserError as error:
            raise UserError(f"{error}; or train now and judge later: --judge none") from error
    return judge


def _judge_runs(study_run: StudyRun, judge: JudgeProtocol | None) -> None:
    """Judge what the judge has not judged yet, and print the win rates."""
    from overopt.evaluation.win_rate_tables import tables
    from overopt.scheduler.terminal import single_job
    from overopt.studies.judging import waiting

    rows = {}
    for run, request in waiting(study_run, judge) if judge is not None else ():
        with single_job(run) as (progress, notice):
            rows[run] = request.run(run, progress, notice)
    if rows:
        print(tables(rows), end="\n\n", flush=True)


def _counts(results: Mapping[str, Result]) -> str:
    """`9 finished, 1 failed`."""
    statuses = [result.status for result in results.values()]
    return ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses))


def watch(options: argparse.Namespace) -> int:
    from overopt.analysis.status_table import watch_runs

    watch_runs(options.runs, every=options.every, once=options.once)
    return DONE


def evaluate(options: argparse.Namespace) -> int:
    from overopt.analysis.summary_table import labels_of_runs
    from overopt.evaluation.judges import judge_from
    from overopt.evaluation.reevaluation import Reevaluation, policy_runs
    from overopt.evaluation.win_rate_tables import tables
    from overopt.records import REFERENCE
    from overopt.scheduler.terminal import single_job

    judge = None if options.judge is None else judge_from(options.judge)
    against = None if options.against == REFERENCE else Path(options.against)
    request = Reevaluation(judge, against, options.checkpoints, options.split, options.max_completion_tokens)
    runs = policy_runs(options.runs)
    request.identify(runs)
    rows = {}
    for run in runs:
        with single_job(run) as (progress, notice):
            rows[run] = request.run(run, progress, notice)
    print(tables(rows))
    if labels := labels_of_runs(runs):
        print("", labels, sep="\n")
    return DONE


def judge(options: argparse.Namespace) -> int:
    from overopt.analysis.agreement_page import agreement_text, write_agreement_page
    from overopt.evaluation.agreement import judge_agreement
    from overopt.evaluation.judges import Situation, judges_from
    from overopt.scheduler.terminal import single_job

    judges = [judge for text in options.judge for judge in judges_from(text)]
    with single_job(options.pairs) as (progress, notice):
        situation = Situation(progress=progress, notice=notice)
        document = judge_agreement(options.pairs, judges, situation, options.limit, options.out)
    print(json.dumps(document, indent=1) if options.json else agreement_text(document), flush=True)
    page = None if options.out is None else write_agreement_page(options.out)
    if page is not None and not options.json:
        print(f"\npage: {page}")
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
    collection = collect(options.runs, options.judge)
    for reason in collection.left_out:
        print(f"overopt: left out: {reason}", file=sys.stderr)
    if options.serve:
        from overopt.analysis.report.serve import serve

        def remade() -> str:
            return make_page(collect(options.runs, options.judge), options.figures)

        serve(remade, lambda text: print(text, flush=True))
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


def convert(options: argparse.Namespace) -> int:
    from overopt.hub.download import commit_of
    from overopt.hub.models import model_snapshot
    from overopt.hub.names import located
    from overopt.models.convert import convert as convert_folder

    name = located(options.model, Path(), "model")
    if name is None:
        converted = convert_folder(Path(options.model), options.out)
    else:
        name = name.at(commit_of(name))
        converted = convert_folder(model_snapshot(name, "pickles"), options.out, str(name))
    print(converted or f"{options.out}: was made from this model before; nothing to do")
    return DONE


def push(options: argparse.Namespace) -> int:
    from tempfile import TemporaryDirectory

    from overopt.analysis.model_card import write_card
    from overopt.hub.upload import push as push_files
    from overopt.hub.upload import repository
    from overopt.models.merging import write_merged
    from overopt.records import load_run

    name, run = repository(options.repo), load_run(options.run)
    if not run.complete:
        raise UserError(f"{run.path}: is {run.status}, not finished; finish or repeat that run first")
    checkpoint = run.checkpoint(run.info.get("go_back_to") if run.status == "stopped" else None)
    with TemporaryDirectory() as folder:
        if (checkpoint / "adapter_config.json").is_file():  # of no use without the model on this machine
            write_merged(str(checkpoint), Path(folder, "merged"))
            checkpoint = Path(folder, "merged")
        write_card(run, Path(folder), name.repo.rpartition("/")[2])
        files = {file.name: file for place in (checkpoint, Path(folder)) for file in place.iterdir() if file.is_file()}
        print(push_files(files, name, f"overopt: {run.stage} run {run.name}", options.public))
    return DONE


def merge(options: argparse.Namespace) -> int:
    from overopt.models.merging import write_merged

    adapter = write_merged(options.model, options.out)
    print(f"{options.out}: the whole model of {adapter}")
    return DONE


def plan(options: argparse.Namespace) -> int:
    from overopt.planning import plan_all, table
    from overopt.studies.planning import missing_parents, stages_of, study_file

    file = study_file(options.config)
    stages = stages_of(file, options.scale, options.overrides, options.inputs, options.only)
    plans = plan_all(stages, options.device, missing_parents(file, stages))
    rows = [stage.row(options.price) for stage in plans]
    print(json.dumps(rows, indent=1) if options.json else table(plans, options.price))
    return DONE


def show(options: argparse.Namespace) -> int:
    from overopt.cli.samples import print_samples
    from overopt.planning.samples import show_all
    from overopt.studies.planning import missing_parents, stages_of, study_file

    file = study_file(options.config)
    stages = stages_of(file, options.scale, options.overrides, options.inputs, options.only)
    shown = show_all(stages, options.samples, missing_parents(file, stages))
    if options.json:
        print(json.dumps([one.row() for one in shown], indent=1, ensure_ascii=False))
    else:
        print_samples(shown)
    return DONE


def power(options: argparse.Namespace) -> int:
    from overopt.analysis.power_table import power_rows, power_text

    found, title, seeds, prompts, measured = _of_numbers(options) if options.study is None else _of_study(options)
    rows = power_rows(found, options.seeds or [seeds], options.prompts or [prompts], options.power)
    print(json.dumps(measured | rows, indent=1) if options.json else power_text(rows, title))
    return DONE


_Question = tuple["Comparison", str, int, int, dict[str, object]]
"""Two runs to tell apart, a title, the numbers of seeds and prompts unless others are named, what was measured."""


def _of_numbers(options: argparse.Namespace) -> _Question:
    from overopt.statistics.power import comparison

    if options.runs or options.difference is None or options.sd is None:
        raise UserError("power: give --difference and --sd; or --study DIR and --runs, which measures both")
    base = 0.5 if options.base is None else options.base
    found = comparison(
        options.difference, options.sd, base, correlation=options.correlation, discordance=options.discordance
    )
    return found, f"win rates of {base + options.difference:g} and {base:g}", 5, 256, {}


def _of_study(options: argparse.Namespace) -> _Question:
    from overopt.replication.exchange import read_study
    from overopt.replication.spread import measure

    flags = ("sd", "base", "correlation", "discordance")
    if given := [f"--{name}" for name in flags if getattr(options, name) is not None]:
        raise UserError(f"power: --study measures {', '.join(given)}; leave out the one or the other")
    if not 1 <= len(options.runs or ()) <= 2:
        raise UserError("power: --study needs one or two --runs, such as `--runs KL-1B ME-1B-1e-6:coef=0.5`")
    spread = measure(read_study(options.study), *options.runs)
    found = spread.comparison if options.difference is None else spread.comparison.of(options.difference)
    return found, spread.title(), len(spread.seeds), spread.prompts, {"measured": spread.row()}


def theory(options: argparse.Namespace) -> int:
    from overopt.theory.statements import verify
    from overopt.theory.table import checks_table

    checks = verify()
    print(json.dumps([check.row() for check in checks], indent=1) if options.json else checks_table(checks))
    return DONE if all(check.holds for check in checks) else OUR_FAULT


def claims(options: argparse.Namespace) -> int:
    from overopt.config import load
    from overopt.replication.claims.check import check
    from overopt.replication.claims.table import print_claims
    from overopt.replication.claims.thresholds import Thresholds
    from overopt.replication.exchange import read_study

    thresholds = load(Thresholds, {}, options.overrides)
    if options.export is not None and options.judge is not None:
        raise UserError("claims: --export writes the outcomes by the runs' own judges; leave --judge out")
    members = read_study(options.study, options.judge)
    if options.export is not None:
        from overopt.replication.results import export

        print(*export(members, options.export, thresholds), sep="\n")
        return DONE
    rows = check(members, thresholds)
    if options.json:
        print(json.dumps([row.row() for row in rows], indent=1))
    else:
        by = f", judged by {options.judge}" if options.judge else ""
        print_claims(rows, f"The claims of the paper, tested on {options.study}{by}")
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

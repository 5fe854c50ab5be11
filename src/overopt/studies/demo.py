"""The miniature study: runs `demo.yaml` and makes of its records a table, `summary.json`, one figure and a report.

A directory belongs to one scale and seed. Runs that are finished in it are not redone and unfinished ones continue, so
the same command goes on after an interruption.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from overopt.analysis.curves import curve_of
from overopt.analysis.run_summary import RunSummary, describe_baselines, summarize_run
from overopt.errors import UserError
from overopt.records import Run, find_runs, load_run
from overopt.scheduler import TRAIN, Event, Failed, Finished, Job, Result, Skipped, run_jobs
from overopt.studies.folder import SUMMARY, claimed, make_claim, write_whole
from overopt.studies.study import RUNS, Gate, Study, load_study

STUDY_FILE = Path(__file__).with_name("demo.yaml")
FIGURE, REPORT = "figure", "report.html"
JUDGED_STAGES = ("online", "offline")


@dataclass(frozen=True)
class Setting:
    """One execution of the study: where, and with what."""

    out: Path
    scale: str
    seed: int
    prefix: str = ""
    """Keeps the job names of several settings apart."""

    def jobs(self, study: Study) -> list[Job]:
        return study.jobs(self.out, self.scale, self.seed, self.prefix)


def demo_study() -> Study:
    return load_study(STUDY_FILE)


def claim(study: Study, setting: Setting) -> None:
    """Make the directory this setting's, or refuse it: nothing in it is ever overwritten by another setting."""
    out, flags = setting.out, f"--scale {setting.scale} --seed {setting.seed}"
    ours = {
        "study": study.name,
        "scale": setting.scale,
        "seed": setting.seed,
        "fingerprint": study.fingerprint(setting.scale, setting.seed),
    }
    theirs = claimed(out)
    if theirs == ours:
        return
    if theirs is not None:
        made = f"--scale {theirs.get('scale')} --seed {theirs.get('seed')}"
        how = "by another version of the study" if made == flags else f"with {made}, not {flags}"
        raise UserError(f"--out {out}: was made {how}; name another directory")
    make_claim(out, ours)


def run_settings(
    study: Study,
    settings: Sequence[Setting],
    *,
    workers: int | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
    on_done: Callable[[Setting, list[RunSummary], dict[str, Result]], None] = lambda setting, rows, results: None,
    train: str = TRAIN,
) -> dict[str, Result]:
    """Run the study in all settings as one list of jobs; `on_done` gets each as soon as its last run has ended."""
    for setting in settings:
        claim(study, setting)
    of_job = {job.name: setting for setting in settings for job in setting.jobs(study)}
    results: dict[str, Result] = {}

    def follow(event: Event) -> None:
        on_event(event)
        match event:
            case Finished(name):
                results[name] = Result("finished")
            case Failed(name, message, trace):
                results[name] = Result("failed", message, trace)
            case Skipped(name, because):
                results[name] = Result("skipped", f"not run, because {because} failed")
            case _:
                return
        setting = of_job[name]
        own = {run: results.get(setting.prefix + run) for run in study.runs}
        ended = {run: result for run, result in own.items() if result is not None}
        if len(ended) == len(own):
            on_done(setting, conclude(study, setting, ended), ended)

    jobs = [job for setting in settings for job in setting.jobs(study)]
    return run_jobs(jobs, workers=workers, on_event=follow, train=train)


def conclude(study: Study, setting: Setting, results: Mapping[str, Result]) -> list[RunSummary]:
    """Rows for all judged runs, written to `summary.json` too."""
    rows = [
        row_of(study, setting, run, results[run])
        for run, config in study.runs.items()
        if config["stage"] in JUDGED_STAGES
    ]
    write_whole(setting.out / SUMMARY, [row.summary() for row in rows])
    return rows


def draw(setting: Setting, rows: Sequence[RunSummary], title: str) -> list[Path]:
    """The figure of the runs that left evaluations; none if no run did."""
    from overopt.analysis import study_figure

    records = [(row, _record(setting, row.run)) for row in rows]
    curves = [curve_of(row.run, run, row.label) for row, run in records if run is not None]
    if not any(curve.steps for curve in curves):
        return []
    sft = next((row.sft_win_rate for row in rows if row.sft_win_rate is not None), None)
    return study_figure.save(study_figure.win_rate_and_proxy(curves, title, sft), setting.out / FIGURE)


def report_on(setting: Setting, title: str) -> Path | None:
    """The page about all runs that left a record; None if none did."""
    from overopt.analysis.report.collect import collect
    from overopt.analysis.report.write import write_report

    runs = setting.out / RUNS
    if not runs.is_dir() or not find_runs(runs):
        return None
    return write_report(collect([runs]), setting.out / REPORT, title=title)[0]


def said_of_proxies(study: Study, setting: Setting) -> list[str]:
    """A line on each reward model: whether it does better than counting."""
    stages = {run: config["stage"] for run, config in study.runs.items()}
    records = [_record(setting, run) for run, stage in stages.items() if stage == "reward_model"]
    return [line for record in records if record is not None and (line := describe_baselines(record))]


def failed_gate(study: Study, setting: Setting, run: str) -> tuple[Gate, str] | None:
    """The first gate before a run that was not reached, and what was found there."""
    for gate in study.gates_before(run):
        value = _gate_value(gate, _record(setting, gate.run))
        if value is None:
            return gate, f"{gate.name} is not recorded"
        if value < gate.at_least:
            return gate, f"{gate.name} is {value:.3f}, below the gate's {gate.at_least:g}"
    return None


def row_of(study: Study, setting: Setting, run: str, result: Result) -> RunSummary:
    """What a table says of one run of the study."""
    config = study.config(run, setting.scale, setting.seed)
    record = _record(setting, run)
    if result.status == "skipped" or (result.status == "failed" and (record is None or record.status != "diverged")):
        how = result.message if result.status == "skipped" else f"the run failed: {result.message}"
        return summarize_run(run, config, record, reason=how)
    gate = failed_gate(study, setting, run)
    if gate is not None:
        return summarize_run(run, config, record, gate=gate[0].name, reason=gate[1])
    return summarize_run(run, config, record)


def _gate_value(gate: Gate, run: Run | None) -> float | None:
    rows = [row for row in run.evaluations() if row.get(gate.value) is not None] if run else []
    return float(rows[-1][gate.value]) if rows else None


def _record(setting: Setting, run: str) -> Run | None:
    try:
        return load_run(setting.out / RUNS / run)
    except UserError:  # it never came to a record
        return None

"""`overopt sweep`: a study of the user's, with all that it varies, in a directory that may grow with its file.

Unlike the demo's, a sweep's file is edited between two runs of the same command: a value more makes runs more. What a
run directory holds is compared with its own configuration when the run's turn comes, so nothing is ever overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from overopt.analysis.run_summary import RunSummary
from overopt.errors import UserError
from overopt.scheduler import TRAIN, Event, Job, Result, run_jobs
from overopt.studies.demo import JUDGED_STAGES, Setting, failed_gate, row_of
from overopt.studies.expand import expand, only
from overopt.studies.folder import SUMMARY, claimed, make_claim, write_whole
from overopt.studies.study import RUNS, Study, load_study


def load_sweep(file: Path, out: Path, pattern: str | None = None) -> tuple[Study, Study]:
    """All single runs of a file, and those that a pattern chooses, with what they descend from."""
    whole = expand(load_study(file), file, out)
    return whole, whole if pattern is None else only(whole, pattern)


def claim_sweep(study: Study, out: Path) -> None:
    """Make the directory this sweep's, or refuse it."""
    theirs = claimed(out)
    if theirs is None:
        make_claim(out, {"study": study.name, "sweep": True})
    elif theirs.get("study") != study.name or theirs.get("sweep") is not True:
        raise UserError(f"--out {out}: holds the study {theirs.get('study')!r}; name another directory")


def sweep_jobs(study: Study, out: Path) -> list[Job]:
    return _setting(study, out).jobs(study)


def run_sweep(
    study: Study,
    out: Path,
    *,
    workers: int | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
    train: str = TRAIN,
) -> dict[str, Result]:
    """Run what is not finished yet. A run behind a gate that was not reached is not run at all."""
    setting = _setting(study, out)

    def gate_before(run: str) -> str | None:
        found = failed_gate(study, setting, run)
        return f"a gate ({found[1]})" if found else None

    return run_jobs(
        setting.jobs(study),
        workers=workers,
        on_event=on_event,
        train=train,
        retries=study.retries,
        obstacle=gate_before if study.gates else None,
    )


def conclude_sweep(whole: Study, out: Path, results: Mapping[str, Result]) -> list[RunSummary]:
    """A row for each run that stands at the end of a chain or is judged, if it was run now or before; and a summary."""
    setting, parents = _setting(whole, out), set()
    for run in whole.runs:
        parents |= set(whole.parents(run))
    rows = []
    for run, config in whole.runs.items():
        judged = config["stage"] in JUDGED_STAGES
        if (judged or run not in parents) and (run in results or (out / RUNS / run / "run.json").is_file()):
            row = row_of(whole, setting, run, results.get(run, Result("finished")))
            rows.append(row if judged else replace(row, objective=str(config["stage"])))
    write_whole(out / SUMMARY, [row.summary() for row in rows])
    return rows


def _setting(study: Study, out: Path) -> Setting:
    return Setting(out, study.default_scale, 0)  # every run's own config has its seed

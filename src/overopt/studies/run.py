"""Runs studies in folders of their own, over the scheduler.

A folder belongs to one study. Runs that are finished in it are left alone and unfinished ones continue, so the same
command goes on after an interruption. The folder of a packaged study belongs to one scale and seed as well. A user's
file may grow between two calls: a value more makes runs more, and each run directory is compared with its own
configuration when the run's turn comes, so nothing is overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overopt.config.messages import did_you_mean
from overopt.errors import UserError
from overopt.records import Run, load_run
from overopt.records.layout import RUNS
from overopt.records.study_folder import planned_seeds, read_claim, write_claim, write_members
from overopt.scheduler import TRAIN, Event, Executor, Job, Result, result_of, run_jobs
from overopt.scheduler.time_left import duration_text
from overopt.studies.expand import ExpandedStudy, expand, replace_texts
from overopt.studies.study import Gate, Study, load_study
from overopt.text_table import text_table

MANY = "many"
"""In place of a seed in the claim on a folder that holds several."""

PACKAGED = Path(__file__).parent
"""The folder of the studies that come with the package, one YAML each."""


@dataclass(frozen=True)
class StudyRun:
    """A study with the folder that it runs in."""

    study: ExpandedStudy
    out: Path
    claim: Mapping[str, Any]
    """Identifies the study that the folder belongs to."""
    title: str
    chosen: tuple[str, ...]
    """The runs to make now; the summary covers all that the folder holds."""
    prefix: str = ""
    """Distinguishes the job names of several studies that run together."""

    @property
    def jobs(self) -> list[Job]:
        out = self.out.resolve()
        return [
            Job(
                name=self.prefix + run.name,
                config=replace_texts(
                    run.config, {f"{RUNS}/{parent}": str(out / RUNS / parent) for parent in run.parents}
                ),
                out=out / RUNS / run.name,
                parents=tuple(self.prefix + parent for parent in run.parents),
                cost=run.cost,
                resources=run.resources,
            )
            for run in map(self.study.runs.__getitem__, self.chosen)
        ]

    def extent(self, workers: int) -> str:
        """How many runs, and about how long those without a finished record take."""
        left = [self.study.runs[run] for run in self.chosen if not self._is_complete(run)]
        total, count = len(self.study.runs), len(self.chosen)
        text = f"{total} runs" if count == total else f"{count} of {total} runs"
        seconds = sum(run.cost for run in left)
        longest = max((run.cost for run in left), default=0.0)
        wall = max(longest, seconds / workers)
        return (
            f"{text}, {workers} at a time; {len(left)} to do, about {duration_text(wall)} "
            f"({duration_text(seconds)} of CPU time)"
        )

    def _is_complete(self, run: str) -> bool:
        record = self.record(run)
        return record is not None and record.complete

    def record(self, run: str) -> Run | None:
        """The record of a run, or None if it has left none yet."""
        try:
            return load_run(self.out / RUNS / run)
        except UserError:
            return None

    def closed_gate(self, run: str) -> tuple[Gate, str] | None:
        """The first gate before a run that was not reached, and what was found there."""
        for gate in self.study.gates_before(run):
            record = self.record(gate.run)
            value = None if record is None else record.last_value(gate.value)
            if value is None:
                return gate, f"{gate.name} is not recorded"
            if value < gate.at_least:
                return gate, f"{gate.name} is {value:.3f}, below the gate's {gate.at_least:g}"
        return None

    def obstacle(self, run: str) -> str | None:
        """The closed gate for which a run is skipped."""
        found = self.closed_gate(run)
        return f"a gate ({found[1]})" if found and found[0].stops else None


def packaged_run(name: str, out: Path | None, scale: str | None = None, seed: int = 0, prefix: str = "") -> StudyRun:
    """A study of the package at one scale and seed, by default in `overopt-NAME/SCALE-seed-SEED`."""
    file = PACKAGED / f"{name}.yaml"
    source = load_study(file)
    scale = scale or source.default_scale
    out = out or Path(f"overopt-{name}", f"{scale}-seed-{seed}")
    study = expand(file, scale, seed)
    claim = {"study": name, "scale": scale, "seed": seed, "fingerprint": source.fingerprint(scale, seed)}
    return StudyRun(study, out, claim, f"{study.title}, scale {scale}, seed {seed}", tuple(study.runs), prefix)


def packaged_studies() -> dict[str, Study]:
    """The studies that come with the package, by name."""
    return {study.name: study for study in map(load_study, sorted(PACKAGED.glob("*.yaml")))}


def list_studies() -> str:
    """A table of the packaged studies: name, title, seeds, number of runs and their CPU time."""
    rows = []
    for name, study in packaged_studies().items():
        runs = expand(PACKAGED / f"{name}.yaml").runs.values()
        seeds = ", ".join(map(str, study.seeds)) or "0"
        time = duration_text(sum(run.cost for run in runs))
        rows.append([name, study.title, ", ".join(study.scales), seeds, str(len(runs)), time])
    return text_table(["study", "title", "scale sets", "seeds", "runs", "CPU time"], rows, right=("runs",))


def _study_file(name: str) -> Path:
    """The YAML of a packaged study, or a file of the user's."""
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    known = packaged_studies()
    if name not in known:
        raise UserError(f"{name}: no such study, nor a YAML file ({did_you_mean(name, known)})")
    return PACKAGED / f"{name}.yaml"


def replication_run(
    name: str,
    out: Path | None,
    scale: str | None,
    seeds: Sequence[int] | None,
    only: Sequence[str] = (),
    inputs: Path | None = None,
) -> StudyRun:
    """A study whose seeds share a folder, by default `overopt-NAME/SCALE`; `only` chooses rows or runs.

    `name` is that of a packaged study, or a YAML file.

    The folder belongs to one scale and one version of the study. Seeds may be added to it. Without `seeds` they are
    those of the study. Its relative paths, to models and data of the user's, start from `inputs`, by default the
    working directory.
    """
    file = _study_file(name)
    source = load_study(file)
    scale = scale or source.default_scale
    given = seeds or source.seeds_at(scale) or (0,)
    folder = out or Path(f"overopt-{source.name or file.stem}", scale)
    every = tuple(dict.fromkeys((*planned_seeds(folder), *given)))  # so that the summary covers all of the folder
    study = expand(file, scale, seeds=every, base=inputs or Path.cwd())
    claim = {"study": study.name, "scale": scale, "seed": MANY, "fingerprint": source.fingerprint(scale, 0)}
    rows = study.matching(only) if only else study.runs
    chosen = tuple(run for run in rows if study.runs[run].seed in given)
    title = ", ".join(filter(None, (study.title, scale)))
    return StudyRun(study, folder, claim, title, chosen)


def plan_members(run: StudyRun) -> None:
    """Write row, setting, seed and gates of every run of the folder; what was planned before stays."""
    entries = {
        r.name: {
            "row": r.row,
            "setting": r.setting,
            "seed": r.seed,
            "gates": [{"run": g.run, "value": g.value, "at_least": g.at_least} for g in run.study.gates_before(r.name)],
        }
        for r in run.study.runs.values()
    }
    write_members(run.out, {"study": run.claim["study"], "scale": run.claim["scale"], "runs": entries})


def sweep_run(file: Path, out: Path, pattern: str | None = None) -> StudyRun:
    """A study of the user's. `pattern` chooses runs by name; their ancestors are run, too."""
    study = expand(file)
    chosen = study.runs if pattern is None else study.matching([pattern])
    return StudyRun(study, out, {"study": study.name, "sweep": True}, study.title, tuple(chosen))


def claim_folder(run: StudyRun) -> None:
    """Reserve the folder for this study; a folder of another study, scale or seed is refused."""
    theirs = read_claim(run.out)
    if theirs is None:
        write_claim(run.out, run.claim)
    elif theirs != run.claim:
        raise UserError(f"--out {run.out}: {_difference(theirs, run.claim)}; name another directory")


def run_studies(
    runs: Sequence[StudyRun],
    *,
    workers: int | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
    on_done: Callable[[StudyRun, dict[str, Result]], None] = lambda run, results: None,
    train: str = TRAIN,
    executor: Executor | None = None,
) -> dict[str, Result]:
    """Run studies as one list of jobs; the result of each job, by its name.

    `on_done` gets a study with the results by run as soon as its last run has ended.
    """
    for run in runs:
        claim_folder(run)
    jobs = {job.name: (run, job) for run in runs for job in run.jobs}
    results: dict[str, Result] = {}

    def follow(event: Event) -> None:
        on_event(event)
        result = result_of(event)
        if result is None:
            return
        results[event.job] = result
        run = jobs[event.job][0]
        ended = {name: results[run.prefix + name] for name in run.chosen if run.prefix + name in results}
        if len(ended) == len(run.chosen):
            on_done(run, ended)

    return run_jobs(
        [job for _, job in jobs.values()],
        workers=workers,
        on_event=follow,
        train=train,
        executor=executor,
        retries=max((run.study.retries for run in runs), default=0),
        obstacle=lambda job: jobs[job][0].obstacle(job.removeprefix(jobs[job][0].prefix)),
    )


def _difference(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    if theirs.get("study") != ours["study"] or "scale" not in ours or "scale" not in theirs:
        return f"holds the study {theirs.get('study')!r}"
    flags, made = (
        f"--scale-set {claim['scale']}"
        if claim.get("seed") == MANY
        else f"--scale {claim['scale']} --seed {claim.get('seed')}"
        for claim in (ours, theirs)
    )
    return "was made by another version of the study" if made == flags else f"was made with {made}, not {flags}"

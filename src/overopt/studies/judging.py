"""What follows the runs of a study that names a judge: every checkpoint of its policies is judged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from overopt.evaluation.judges.base import JudgeProtocol
from overopt.evaluation.reevaluation import Reevaluation
from overopt.outcomes import JUDGED_STAGES
from overopt.records import load_run
from overopt.studies.run import StudyRun


def judged_runs(study_run: StudyRun) -> list[Path]:
    """The directories of the study's finished runs whose policies can be judged."""
    records = [study_run.record(run.name) for run in study_run.study.runs.values() if run.stage in JUDGED_STAGES]
    return [record.path for record in records if record is not None and record.complete]


def waiting(study_run: StudyRun, judge: JudgeProtocol) -> Iterator[tuple[Path, Reevaluation]]:
    """The runs that this judge has not judged at every checkpoint yet, each with what judges it."""
    paths = judged_runs(study_run)
    request = Reevaluation(judge)
    if not paths:
        return
    identity = request.identify(paths)
    for path in paths:
        run = load_run(path)
        rows = run.evaluations(identity.id)
        by_it = {row["step"] for row in rows if row.get("judge_hash") == identity.hash and run.is_ordinary(row)}
        if not set(run.sample_steps()) | set(run.checkpoints()) <= by_it:
            yield path, request

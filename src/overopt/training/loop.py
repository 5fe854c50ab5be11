"""What the loops of all stages share: the evaluator, the steps of checkpoints, the size of a batch."""

from __future__ import annotations

from collections.abc import Sequence

from overopt.engine.packing import Tree
from overopt.errors import UserError
from overopt.evaluation.evaluator import Evaluator
from overopt.models.policy import Policy
from overopt.models.scorer import Scorer
from overopt.models.text import Codec
from overopt.tasks.base import TaskProtocol
from overopt.training.data import encode_prompts
from overopt.training.run.session import Session


def make_evaluator(
    session: Session,
    task: TaskProtocol,
    seed: int,
    codec: Codec,
    temperature: float,
    scorer: Scorer | None = None,
    reference: Policy | None = None,
) -> Evaluator:
    """The evaluator of a run, on the evaluation prompts that its seed may read."""
    dropped = session.dropped("evaluation")
    split, records = task.evaluation(seed, dropped)
    fitting = [p.record for p in encode_prompts(codec, records, session.limits, dropped)]
    dropped.kept = len(fitting)
    if not fitting:
        raise UserError(f"task: no prompt is left to evaluate on (dropped: {dropped.left_out})")
    return Evaluator(
        task=task,
        codec=codec,
        split=split,
        records=fitting,
        seed=seed,
        max_completion_tokens=session.limits.completion,
        temperature=temperature,
        judge="gold" if task.has_gold else "none",
        scorer=scorer,
        reference=reference,
    )


def checkpoint_steps(steps: int, every: int | None) -> set[int]:
    """Steps after which a checkpoint is kept and evaluated: every so many and the last, or at 10, 25, 50, 75, 100 %."""
    if every is None:
        return {round(steps * share) for share in (0.1, 0.25, 0.5, 0.75, 1.0)} - {0}
    return {*range(every, steps + 1, every), steps}


def tokens_in(trees: Sequence[Tree]) -> int:
    """Tokens that a batch of trees holds, each prompt counted once."""
    return sum(tree.size for tree in trees)

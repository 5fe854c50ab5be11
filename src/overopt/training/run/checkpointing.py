"""Checkpoints, which are ordinary model folders, and the states from which an unfinished run goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from overopt.engine import ranks
from overopt.engine.memory import TokenBudget
from overopt.records import RunWriter, remove_states
from overopt.records.atomic import check_space
from overopt.records.states import SavedState
from overopt.training.fields import Keep
from overopt.training.run.stopping import check_weights
from overopt.training.run.trainer_state import TrainerState


@dataclass
class Checkpointer:
    """Saves a run after the steps at which that is due; `keep` says which checkpoints stay."""

    writer: RunWriter
    trainer: TrainerState
    budget: TokenBudget
    keep: Keep
    checkpoint_steps: frozenset[int]
    state_steps: frozenset[int]
    """Steps after which the run can go on; among them those of the checkpoints."""
    kept: dict[int, dict[str, str]] = field(default_factory=dict)
    """The checkpoints kept so far, with the hashes of their files."""
    best: float | None = None
    """The quality of the checkpoint kept last."""

    def due(self, step: int) -> bool:
        """Whether the run is saved after this step."""
        return step == 0 or step in self.state_steps

    def save(self, step: int, quality: float | None, elapsed: float) -> None:
        """Save a checkpoint where one is due and good enough; then the state, which makes both count.

        `quality` is what `keep: best` compares, of an evaluation at this step; `elapsed` are the run's seconds so far.
        """
        check_weights(self.trainer.model, step)
        ranks.on_main(partial(self._save, step, quality, elapsed))

    def _save(self, step: int, quality: float | None, elapsed: float) -> None:
        trainer = self.trainer
        due = step in self.checkpoint_steps
        check_space(self.writer.path, trainer.size() + (trainer.model_size() if due else 0))
        if due and self._is_wanted(quality):
            with self.writer.checkpoint(step) as folder:
                trainer.model.save(folder)
            others = self.kept if self.keep == "every" else {}
            self.kept = {**others, step: self.writer.checkpoint_hashes(step)}
            self.best = quality
        document = {
            "moving": trainer.document(),  # this key is older than the class; runs that have it must stay resumable
            "best": self.best,
            "elapsed": elapsed,
            "token_budget": self.budget.tokens,
        }
        self.writer.commit_state(step, self.kept, document, lambda file: trainer.save(file, step))

    def restore(self, state: SavedState) -> None:
        """Put everything back as it was when the state was saved."""
        self.trainer.restore(state.step, state.tensors, state.trainer["moving"])
        self.kept, self.best = dict(state.checkpoints), state.trainer["best"]
        self.budget.tokens = state.trainer["token_budget"]

    def finish(self, status: str, **fields: object) -> None:
        """Record how the run ended, keeping the checkpoints that `keep` says and nothing to go on from."""

        def work() -> None:
            self.writer.keep_checkpoints(self.kept)
            self.writer.finish(status, **fields)
            remove_states(self.writer.path)  # last: until now a run that is killed goes on from them

        ranks.on_main(work)

    def _is_wanted(self, quality: float | None) -> bool:
        """Whether to keep this checkpoint for now: of equals the earlier is best; without a measure the last is."""
        if self.keep != "best" or quality is None or self.best is None:
            return True
        return quality > self.best

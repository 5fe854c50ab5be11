"""The judge `reward_model`: a reward model's scores of both completions are compared."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from overopt.config import Location, block
from overopt.engine.memory import TokenBudget
from overopt.engine.packing import Tree
from overopt.errors import UserError
from overopt.evaluation.judges.base import Comparison, Identity, Judgement, JudgeProtocol, Situation, digest
from overopt.evaluation.judges.scores import outcomes
from overopt.hub.names import short
from overopt.models.load import load_reward_model, model_folder
from overopt.models.reward_model import RewardModel
from overopt.models.scorer import Scorer
from overopt.models.text import Codec
from overopt.records import layout, load_run
from overopt.records.hashing import model_files


@block
class RewardModelJudge(JudgeProtocol):
    """Compares the scores of a reward model: the run's own, the proxy, or another, such as a larger one.

    Both texts are encoded as the reward model was trained to read them, with the white space around them.
    """

    config_name: ClassVar[str] = "reward_model"

    path: Location | None = None
    """A reward model's run or folder, or its name on the Hub; null: the reward model of the run that is judged."""

    def identity(self, situation: Situation) -> Identity:
        folder = self._folder(situation)
        name = "reward_model" if self.path is None else f"reward_model/{short(self.path)}"
        return Identity(name, digest([situation.prompt_style, model_files(folder)]))

    def judge(self, comparisons: Sequence[Comparison], situation: Situation) -> list[Judgement]:
        scores = self.scores(comparisons, situation)
        return [Judgement(outcome) for outcome in outcomes(*zip(*scores, strict=True))] if scores else []

    def scores(self, comparisons: Sequence[Comparison], situation: Situation) -> list[tuple[float, float]]:
        """Return the scores of our completion and of the reference; of two that are the same tokens, the same score."""
        if not comparisons:
            return []
        compute = situation.compute
        model = load_reward_model(self._folder(situation), compute.resolve(), compute.bf16)
        codec = Codec.of(model, _style(model, situation), situation.clock)
        records = [comparison.record for comparison in comparisons]
        texts = [[comparison.ours, comparison.reference] for comparison in comparisons]
        trees = [Tree(*row) for row in codec.encode(records, texts)]
        scorer = Scorer(model, codec, situation.notice)
        for text in scorer.notices:
            situation.notice(text)
        score: Any = partial(scorer.score, records, [text for pair in texts for text in pair], trees)
        score_B: Tensor = TokenBudget(compute.budget).without_gradient(score)
        both: list[list[float]] = score_B.reshape(-1, 2).tolist()
        same = [ours == reference for ours, reference in (tree.completions for tree in trees)]  # but for rounding
        return [(a, a if equal else b) for (a, b), equal in zip(both, same, strict=True)]

    def _folder(self, situation: Situation) -> Path:
        path = situation.reward_model if self.path is None else model_folder(self.path)
        if path is None:
            raise UserError(
                "judge reward_model: there is no reward model of a run here; name one: "
                "{name: reward_model, path: FOLDER}"
            )
        return load_run(path).checkpoint() if (path / layout.INFO).is_file() else path


def _style(model: RewardModel, situation: Situation) -> Any:
    """The prompt style of the model's training texts; if unknown, the task's, as far as the model has a template."""
    return model.prompt_style or (situation.prompt_style if model.tokenizer.chat_template else "raw")

"""A judge that is a language model of transformers, in a folder or on the Hub; `local_model.py` asks it.

Replies go to the same cache as those of hosted models, after each batch, so that a command which was killed has lost
one batch at most when it is given again. A model is loaded when there is something left to ask, and stays loaded until
another one is asked.

A question that is, with its reply, longer than the texts that the model was made for is not asked: its answer is empty
and so invalid, and a notice says how many there were. To refuse the whole set because of one long pair would leave the
user no judgement at all; to cut a text would judge another pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from overopt.config import Location, block
from overopt.engine.compute import Compute
from overopt.evaluation.judges.asking import utc_now
from overopt.evaluation.judges.base import Answer, Question, Situation
from overopt.evaluation.judges.cache import Cache, default_cache, key_of
from overopt.evaluation.judges.local_model import AnswerBy, LocalModel
from overopt.evaluation.judges.replies import Attempts, LanguageModelJudge
from overopt.hub.names import short
from overopt.models.folder import check_folder
from overopt.models.load import model_folder
from overopt.records.hashing import model_files

BATCH = 32
"""Questions between two visits to the cache: what a kill may cost."""
RULES = 1
"""Raised when `local_model.py` asks the same model in another way, so that old replies are not taken for new ones."""


@block
class HF(LanguageModelJudge):
    """A language model in a Hugging Face folder or on the Hub."""

    config_name: ClassVar[str] = "hf"

    model: Location
    """A Hugging Face folder, a name on the Hub, or a GGUF file."""
    answer: AnswerBy = "logprobs"
    """`logprobs`: the most probable of the prompt's possible replies, without reasons and never invalid; `text`: what
    the model writes, greedily."""
    attempts: Attempts = 1
    """How often a reply that cannot be read is asked for; a greedy model says the same again."""

    def label(self) -> str:
        name = short(self.model)
        return f"hf/{name}" if self.answer == "logprobs" else f"hf/{name}/{self.answer}"

    def decisive(self, situation: Situation) -> Mapping[str, Any]:
        folder = self._folder()
        check_folder(folder)
        return {
            "kind": "hf",
            "files": model_files(folder),
            "answer": self.answer,
            "precision": situation.compute.precision,
            "rules": RULES,
        }

    def ask(self, questions: Sequence[Question], situation: Situation) -> Sequence[Answer]:
        who, folder = self.decisive(situation), self._folder()
        keys = [key_of(who, replace(question, attempt=1)) for question in questions]
        too_long = 0
        with Cache(situation.cache or default_cache()) as cache:
            answers = cache.find(keys)
            left = {key: question for key, question in zip(keys, questions, strict=True) if key not in answers}
            waiting = list(left.items())
            while waiting:
                situation.progress(sum(key in answers for key in keys), len(keys))
                batch, waiting = dict(waiting[:BATCH]), waiting[BATCH:]
                model = _load(folder, tuple(who["files"].items()), self.answer, situation.compute)
                for key, answer in zip(batch, model.answers(list(batch.values())), strict=True):
                    too_long += answer is None
                    answers[key] = Answer("", utc_now()) if answer is None else cache.keep(key, self.label(), answer)
        situation.progress(len(keys), len(keys))
        if too_long:
            situation.notice(
                f"{self.label()}: {too_long} of {len(left)} questions are, with the reply, longer than the "
                f"{model.limit} tokens that the model was made for; they were not asked, and count as invalid replies"
            )
        return [answers[key] for key in keys]

    def _folder(self) -> Path:
        return model_folder(self.model)


@lru_cache(maxsize=1)
def _load(folder: Path, files: tuple[tuple[str, str], ...], answer: AnswerBy, compute: Compute) -> LocalModel:
    """The model of a folder whose files have these hashes: a command asks for many evaluations."""
    return LocalModel.load(folder, answer, compute)

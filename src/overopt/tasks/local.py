"""Preference pairs, rankings, reference completions and prompts from files, of this machine or of the Hub."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import fields
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, model_validator

from overopt.config import DataLocation, Function, block
from overopt.errors import UserError
from overopt.hub.layout import TRAIN
from overopt.spooled import Spooled
from overopt.tasks import functions
from overopt.tasks.base import PromptStyle, Report, TaskProtocol, strip_joint
from overopt.tasks.formats import Example, Format, identical, iter_examples, paired
from overopt.tasks.formats.transcript import as_transcript
from overopt.tasks.sources import Source
from overopt.types import Completion, Dropped, Preference, PromptRecord, preference

T = TypeVar("T")
S = TypeVar("S", bound=Sized)


def _digest(prompt: str) -> str:
    """A prompt's identity. White space does not count, so that near copies fall on one side of the held-out split."""
    return hashlib.sha256(" ".join(prompt.split()).encode()).hexdigest()


def _held_out(example: Example, share: float) -> bool:
    return int(_digest(example.prompt)[:13], 16) / 16**13 < share


@block
class Local(TaskProtocol):
    """A file of pairs, of rankings, of prompts with references, or of prompts, a part of which is held out.

    Pairs and rankings can be used in every stage: the chosen or best completion is the reference. Which prompts are
    held out for evaluation depends on their text alone, not on the seed.
    """

    path: DataLocation
    """JSONL, JSON, Parquet, CSV or TSV, each gzipped or not; a folder of such files, or a pattern: `data/train-*`. Or a
    data set on the Hub: `OWNER/NAME`, `OWNER/NAME@REVISION`."""
    subset: Annotated[str, Field(min_length=1)] | None = None
    """Which of the subsets (configurations) of a data set, as its card names them, or a folder in it."""
    split: Annotated[str, Field(min_length=1)] | None = None
    """Which split of a data set, or of a folder laid out as one; null: of a data set on the Hub `train`, or the only
    one."""
    evaluation_path: DataLocation | None = None
    """What to evaluate on instead of a held-out part of `path`; its prompts are then left out of `path`."""
    evaluation_split: Annotated[str, Field(min_length=1)] | None = None
    """A split to evaluate on: of `evaluation_path` or, without it, of `path` and its `subset`."""
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the prompts of `path` that is held out, if nothing else is given to evaluate on."""
    format: Format = "auto"
    """How the records are written; `auto` looks at the first one."""
    prompt_style: PromptStyle = "raw"
    """`raw`: the prompt is text to continue, one space joins where neither side has white space. `chat_template`: it is
    a user's turn, through the model's template; an assistant's message at its end is continued."""
    turns: Literal["template", "transcript"] = "template"
    """What chat messages are written with: the model's chat `template`; or, for a model without one, as a `transcript`,
    the text of Human: and Assistant: as in HH-RLHF, which takes `prompt_style: raw`. A text prompt is Human's then."""
    long_posts: Literal["cut", "left_out"] = "cut"
    """What becomes of a TL;DR post that is longer than `max_prompt_tokens`, or a news article of its comparisons: `cut`
    at its last line end until the prompt fits, as in the published recipe, or `left_out`, as other prompts are."""
    limit: Annotated[int, Field(gt=0)] | None = None
    """Read at most this many usable records of each path."""
    evaluation_prompts: Annotated[int, Field(gt=0)] | None = None
    """Answer at most this many of the evaluation prompts, chosen by their text alone; held-out pairs all stay."""
    report: Report = Report()
    """`{samples: hidden}` keeps the texts out of reports; advisable for HH-RLHF, which holds offensive ones."""
    gold_function: Function | None = None
    """A function of your own that gives the gold reward, as `my_module:gold` with `gold(prompts, completions,
    **columns)`. It judges evaluations and can label sampled pairs."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.evaluation_path is None and self.evaluation_split == (self.split or TRAIN):
            raise ValueError("evaluation_split: is the split that is trained on; name another, or leave it out")
        if self.turns == "transcript" and self.prompt_style != "raw":
            raise ValueError("turns: a transcript is text to continue; set prompt_style: raw, or leave turns out")
        return self

    @property
    def sources(self) -> dict[str, Source]:
        """Where records are read, by the field that says it."""
        trained_on = self.split or (None if self.evaluation_split is None or self.evaluation_path else TRAIN)
        found = {"path": Source(self.path, self.subset, trained_on)}
        if self.evaluation_path is not None:
            found["evaluation_path"] = Source(self.evaluation_path, split=self.evaluation_split)
        elif self.evaluation_split is not None:
            found["evaluation_split"] = Source(self.path, self.subset, self.evaluation_split)
        return found

    @property
    def _training_source(self) -> Source:
        return self.sources["path"]

    @property
    def _evaluation_source(self) -> Source | None:
        return next((source for field, source in self.sources.items() if field != "path"), None)

    @property
    def has_gold(self) -> bool:
        return self.gold_function is not None

    def vocabulary(self) -> list[str] | None:
        return None

    def demonstrations(self, seed: int, dropped: Dropped) -> Sequence[PromptRecord]:
        examples = self._training(dropped)
        good = examples.where(_is_desirable)
        _record_dropped(dropped, "demonstrations: labelled false", len(examples) - len(good))
        _require_any(good, f"{self._training_source}: nothing to imitate: every completion is labelled false")
        known = (record for record in self._numbered(good) if record.reference is not None)
        records = Spooled.of(known, _frozen, _thaw(PromptRecord))
        _record_dropped(dropped, "demonstrations: empty reference", len(good) - len(records))
        return _require_any(records, f"{self._training_source}: nothing to imitate: every reference is empty")

    def prompts(self, seed: int, dropped: Dropped) -> Sequence[PromptRecord]:
        return self._once(self._training(dropped), dropped, "training")

    def pair_prompts(self, seed: int, n: int) -> Sequence[PromptRecord]:
        return self.prompts(seed, Dropped())[:n]

    def reward_test_prompts(self, seed: int) -> Sequence[PromptRecord]:
        return self.evaluation(seed, Dropped())[1]

    def preferences(self, seed: int, dropped: Dropped) -> Sequence[Preference]:
        return self._preferences(self._training(dropped), "training", dropped)

    def evaluation_preferences(self, seed: int, dropped: Dropped) -> tuple[str, Sequence[Preference]]:
        return self._split, self._preferences(self._evaluation(dropped), "evaluation", dropped)

    def evaluation(self, seed: int, dropped: Dropped) -> tuple[str, Sequence[PromptRecord]]:
        records = self._once(self._evaluation(dropped), dropped, "evaluation")
        if self.evaluation_prompts is None or self.evaluation_prompts >= len(records):
            return self._split, records
        kept = set(sorted(record.prompt_id for record in records)[: self.evaluation_prompts])
        _record_dropped(dropped, "evaluation prompts: beyond evaluation_prompts", len(records) - len(kept))
        return self._split, records.where(lambda record: record.prompt_id in kept)

    def gold(self, record: PromptRecord, completion: Completion) -> float | None:
        if self.gold_function is None:
            return None
        functions.check_columns(self.gold_function, "task.gold_function", [record])
        return functions.score(self.gold_function, "task.gold_function", [record], [completion])[0]

    # --- Examples: read, split, filtered

    @property
    def _split(self) -> str:
        return "holdout" if self._evaluation_source is None else "evaluation"

    def _read(self, source: Source, role: str, dropped: Dropped) -> Spooled[Example]:
        found = Dropped()
        examples = iter_examples(source, self.format, found, self.limit, self._own)
        turned = map(as_transcript, examples) if self.turns == "transcript" else examples
        spooled = Spooled.of(map(self._checked, turned), _frozen, _thaw(Example))
        for reason, count in found.reasons.items():
            _record_dropped(dropped, f"{role} file: {reason}", count)
        return spooled

    def _checked(self, example: Example) -> Example:
        """The example; UserError if the raw style would leave out a part of its prompt."""
        if self.prompt_style == "raw" and example.chat_only:
            raise UserError(
                f"{example.place}: the prompt is a list of chat messages; set prompt_style: chat_template, or "
                "turns: transcript for a model without a chat template"
            )
        if self.prompt_style == "raw" and "tools" in example.columns:
            raise UserError(
                f"{example.place}: only a chat template shows 'tools' to a model; set prompt_style: "
                "chat_template, or take the field out"
            )
        return example

    def _training(self, dropped: Dropped) -> Spooled[Example]:
        examples, evaluation = self._read(self._training_source, "training", dropped), self._evaluation_source
        if evaluation is None:
            kept = examples.where(lambda example: not _held_out(example, self.holdout))
            rest = "all of them are held out"
        else:
            evaluated = {_digest(example.prompt) for example in self._read(evaluation, "evaluation", Dropped())}
            kept = examples.where(lambda example: _digest(example.prompt) not in evaluated)
            rest = f"every prompt is in {evaluation} too"
            _record_dropped(dropped, "training file: prompt is in the evaluation file", len(examples) - len(kept))
        return _require_any(kept, f"{self._training_source}: nothing to train on: of {len(examples)} records {rest}")

    def _evaluation(self, dropped: Dropped) -> Spooled[Example]:
        if self._evaluation_source is not None:
            return self._read(self._evaluation_source, "evaluation", dropped)
        examples = self._read(self._training_source, "training", dropped)
        return _require_any(
            examples.where(lambda example: _held_out(example, self.holdout)),
            f"{self._training_source}: nothing to evaluate on: holdout {self.holdout} of {len(examples)} records "
            "takes none; raise it, or name an evaluation_path or evaluation_split",
        )

    # --- From examples to records

    def _own(self, completion: str, prompt: str) -> str:
        return strip_joint(completion, prompt, self.prompt_style)

    def _meta(self, example: Example) -> dict[str, Any]:
        chat = self.prompt_style == "chat_template" and example.messages is not None
        return {**example.columns, **({"messages": list(example.messages or ())} if chat else {})}

    def _cuttable(self, example: Example) -> tuple[int, int] | None:
        return example.cuttable if self.long_posts == "cut" else None

    def _record(self, example: Example, prompt_id: str) -> PromptRecord:
        """The prompt with its reference. A blank completion and one labelled undesirable are no references."""
        good = "" if example.desirable is False else example.reference or ""
        reference = self._own(good, example.prompt)
        known = reference if reference.strip() else None
        return PromptRecord(
            prompt_id, example.prompt, known, self._meta(example), example.place, self._cuttable(example)
        )

    def _preferences(self, examples: Spooled[Example], role: str, dropped: Dropped) -> Sequence[Preference]:
        """The pairs and rankings; completions that are labelled one by one are paired by prompt, in memory."""
        pairs, left = examples, 0
        if any(example.desirable is not None or example.rating is not None for example in examples):
            found, left = paired(list(examples))
            pairs = Spooled.of(found, _frozen, _thaw(Example))
        kept = pairs.where(self._is_pair)
        _record_dropped(dropped, f"{role} pairs: no completion of the other label to pair with", left)
        _record_dropped(dropped, f"{role} pairs: chosen and rejected are identical", len(pairs) - len(kept))
        if role == "training":
            same = f"chosen and rejected are identical in all {len(pairs)} pairs"
            why = same if len(pairs) else "no prompt has two completions that differ in their label or rating"
            _require_any(kept, f"{self._training_source}: no pair to train on: {why}")
        return kept.map(self._preference)

    def _is_pair(self, example: Example) -> bool:
        if not example.ranked:
            raise _missing(example, "'chosen' and 'rejected'", "preference pairs are needed")
        return not identical(example, self._own)

    def _preference(self, example: Example) -> Preference:
        ranked = tuple(Completion(self._own(text, example.prompt)) for text in example.ranked)
        key, meta, cuttable = _digest(example.prompt)[:16], self._meta(example), self._cuttable(example)
        return preference(key, example.prompt, ranked, meta, example.place, cuttable)

    def _numbered(self, examples: Iterable[Example]) -> Iterator[PromptRecord]:
        """A record for every example. The second example of the same prompt gets the id ID-2, and so on."""
        seen: Counter[str] = Counter()
        for example in examples:
            prompt_id = _digest(example.prompt)[:16]
            seen[prompt_id] += 1
            suffix = f"-{seen[prompt_id]}" if seen[prompt_id] > 1 else ""
            yield self._record(example, prompt_id + suffix)

    def _once(self, examples: Spooled[Example], dropped: Dropped, role: str) -> Spooled[PromptRecord]:
        """A record for each different prompt, with its first reference."""
        records = examples.map(lambda example: self._record(example, _digest(example.prompt)[:16]))
        places: dict[str, int] = {}
        without: set[str] = set()
        for place, record in enumerate(records):
            if record.prompt_id not in places or record.prompt_id in without:
                places[record.prompt_id] = place
                (without.add if record.reference is None else without.discard)(record.prompt_id)
        _record_dropped(dropped, f"{role} prompts: repeated prompt", len(records) - len(places))
        return records.at(places.values())


def _missing(example: Example, fields: str, need: str) -> UserError:
    """What to tell of a record that lacks its completions: perhaps it has them under other names."""
    names = ", ".join(example.columns)
    there = f"; beside the prompt it has {names}: rename what these are" if names else ""
    return UserError(f"{example.place}: no {fields}, and {need} here{there}")


def _record_dropped(dropped: Dropped, reason: str, count: int) -> None:
    """Set the count, and do not add to it: a stage reads the same file several times."""
    if count:
        dropped.reasons[reason] = count


def _is_desirable(example: Example) -> bool:
    if example.reference is None:
        raise _missing(example, "'chosen' or 'completion'", "a reference to imitate is needed")
    return example.desirable is not False


def _frozen(item: Example | PromptRecord) -> tuple[Any, ...]:
    return tuple(getattr(item, field.name) for field in fields(item))


def _thaw(cls: Callable[..., T]) -> Callable[[tuple[Any, ...]], T]:
    return lambda values: cls(*values)


def _require_any(items: S, otherwise: str) -> S:
    if not items:
        raise UserError(otherwise)
    return items

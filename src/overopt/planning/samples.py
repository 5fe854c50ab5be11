"""The first records of a stage as the model will see them: their tokens, and where the loss falls.

Texts are read and encoded by the functions of training, so that what is shown is what is trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from overopt.engine.packing import Tree
from overopt.models.text import Codec
from overopt.planning.plan import models_of
from overopt.training.data import Limits, encode_demonstrations, encode_preferences, encode_prompts
from overopt.training.pairs import FromRun, Sampled, recorded_pairs
from overopt.training.stages.online import Online
from overopt.training.stages.reward_model import RewardModelStage
from overopt.training.stages.sft import SFT
from overopt.types import Dropped

Mark = Literal["", "loss", "score"]
"""What training does at a token: nothing, its log-probability is in the loss, or the score is read there."""
BYTES = 4
"""Most bytes of a character, each of which may be a token of its own."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some tokens that spell text together, mostly one; several where one alone is a part of a character."""

    ids: tuple[int, ...]
    text: str
    mark: Mark = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A prompt or a completion."""

    name: str
    pieces: Sequence[Piece]

    @property
    def size(self) -> int:
        """How many tokens it has."""
        return sum(len(piece.ids) for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Sample:
    """One record, and where it was read."""

    place: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Shown:
    """The first records of one stage, or of several stages that are equal but for their names."""

    names: tuple[str, ...]
    stage: str
    what: str
    """`demonstrations`, `pairs` or `prompts`."""
    count: int
    """How many there are before the limits on their lengths."""
    rule: str
    """Where the loss falls, in words."""
    samples: Sequence[Sample]
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Records that the reader left out, and those that do not fit among the ones looked at, by reason."""

    def row(self) -> dict[str, Any]:
        """What `--json` prints."""
        samples = [
            {
                "place": sample.place,
                "parts": [
                    {
                        "name": part.name,
                        "tokens": part.size,
                        "text": "".join(piece.text for piece in part.pieces),
                        "pieces": [{"ids": [*p.ids], "text": p.text, "mark": p.mark} for p in part.pieces],
                    }
                    for part in sample.parts
                ],
            }
            for sample in self.samples
        ]
        about = {"names": [*self.names], "stage": self.stage, "what": self.what, "count": self.count}
        return about | {"rule": self.rule, "left_out": dict(self.left_out), "samples": samples}


def show_all(stages: Mapping[str, Any], count: int, parents: Mapping[str, Any] | None = None) -> list[Shown]:
    """The first `count` records of each stage that fit its limits; stages that show the same are one.

    `parents` are further stages, by the name of their run directory, whose tokenizers the shown ones will have.
    """
    models = models_of(stages, parents)
    alike: dict[str, Shown] = {}
    for name, stage in stages.items():
        codec = Codec(models[name][1], stage.task.prompt_style, prepend_bos=getattr(stage, "prepend_bos", False))
        shown = _show(stage, codec, count)
        known = alike.setdefault(repr(shown), shown)
        alike[repr(shown)] = replace(known, names=(*known.names, name))
    return list(alike.values())


def _show(stage: Any, codec: Codec, count: int) -> Shown:
    dropped = Dropped()
    encode: Callable[..., Sequence[Tree]] = _as_trees
    match stage:
        case SFT():
            what, encode = "demonstrations", encode_demonstrations
            records: Sequence[Any] = stage.task.demonstrations(stage.seed, dropped)
            rule = "on all tokens but the first" if stage.loss_on_prompt else "on the completion, its end included"
        case Online():
            what = "prompts"
            records = stage.task.prompts(stage.seed, dropped)
            rule = f"on the completions that the policy samples, up to {stage.max_completion_tokens} tokens each"
        case _ if isinstance(stage.pairs, Sampled):
            what = "prompts"
            records = stage.task.pair_prompts(stage.seed, stage.pairs.count)
            rule = f"on the completions that its policy samples, {stage.pairs.per_prompt} for each prompt"
        case _:
            what, encode = "pairs", encode_preferences
            records, missing = _pairs(stage, dropped)
            scored = isinstance(stage, RewardModelStage)
            rule = "on the scores at the last token of each completion" if scored else "on the completions"
            rule += missing
    limits = Limits(stage.max_prompt_tokens, stage.max_completion_tokens)
    samples = []
    for record, tree in _fitting(records, lambda some: encode(codec, some, limits, dropped)):
        samples.append(Sample(record.place or record.prompt_id, _parts(stage, codec, tree)))
        if len(samples) == count:
            break
    return Shown((), stage.stage, what, len(records), f"the loss is {rule}", samples, dropped.left_out)


def _pairs(stage: Any, dropped: Dropped) -> tuple[Sequence[Any], str]:
    """The stored pairs of a stage; none, and the reason, if they are another run's that is only planned."""
    if not isinstance(stage.pairs, FromRun):
        return stage.task.preferences(stage.seed, dropped), ""
    run = Path(stage.pairs.path)
    if not run.exists():
        return [], f"; the pairs are those that {run.name} will sample"
    return recorded_pairs(run).train, ""


def _as_trees(codec: Codec, records: Sequence[Any], limits: Limits, dropped: Dropped) -> list[Tree]:
    return [Tree(prompt.tokens, []) for prompt in encode_prompts(codec, records, limits, dropped)]


def _fitting(records: Sequence[Any], encode: Callable[[list[Any]], Sequence[Tree]]) -> Iterator[tuple[Any, Tree]]:
    """The records that fit, with their tokens; each is encoded when it is asked for."""
    for record in records:
        for tree in encode([record]):
            yield record, tree


def _parts(stage: Any, codec: Codec, tree: Tree) -> list[Part]:
    learned = isinstance(stage, SFT) and stage.loss_on_prompt
    on_prompt: Mark = "loss" if learned else ""
    prompt = _pieces(codec, tree.prompt, ["", *[on_prompt] * (len(tree.prompt) - 1)])
    parts = [Part("prompt", prompt)]
    for rank, completion in enumerate(tree.completions):
        pieces = _pieces(codec, completion, _marks(stage, len(completion)))
        parts.append(Part(_name(rank, len(tree.completions)), pieces))
    return parts


def _marks(stage: Any, size: int) -> list[Mark]:
    """The marks of a completion's tokens."""
    if not isinstance(stage, RewardModelStage):
        return ["loss"] * size
    before: list[Mark] = [""] * (size - 1)
    return [*before, "score"]


def _name(rank: int, of: int) -> str:
    names = {1: ("completion",), 2: ("chosen", "rejected")}
    return names[of][rank] if of in names else f"rank {rank + 1}"


def _pieces(codec: Codec, ids: Sequence[int], marks: Sequence[Any]) -> list[Piece]:
    """The tokens with their texts. Tokens of one mark that are parts of a character stay together."""
    pieces: list[Piece] = []
    group: list[int] = []
    for place, (token, mark) in enumerate(zip(ids, marks, strict=True)):
        group.append(token)
        text = codec.text_of(group)
        ends = place + 1 == len(ids) or marks[place + 1] != mark
        if ends or len(group) == BYTES or "\ufffd" not in text:
            pieces.append(Piece(tuple(group), text, mark))
            group = []
    return pieces

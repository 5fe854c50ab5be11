"""Judges by name: the union of all kinds, and the texts by which the command line names one or several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from overopt.config import Choice, block, load
from overopt.config.overrides import parse_override
from overopt.errors import ConfigError, UserError
from overopt.evaluation.judges.base import JudgeProtocol
from overopt.evaluation.judges.several import Average, Majority, Single

Judge = Annotated[Single | Majority | Average, Choice(JudgeProtocol)]

EXAMPLES = "a name (gold), a file (judge.yaml) or fields ({name: reward_model, path: FOLDER})"


@block
class _Chosen:
    """What a judge's YAML file holds."""

    judge: Judge


def judge_from(text: str) -> JudgeProtocol:
    """Return the judge that a text names: `NAME`, `my_module:MyJudge`, `{name: NAME, field: value}` or `FILE.yaml`.

    The file holds the same under the key `judge`. Locations are relative to the file or to the working directory.
    ConfigError: what the text says is no judge, and what is.
    """
    judges = judges_from(text)
    if len(judges) != 1:
        raise UserError(f"judge: {text!r} names {len(judges)}; several as one are {{name: majority, judges: [...]}}")
    return judges[0]


def judges_from(text: str) -> list[JudgeProtocol]:
    """Return the judges that a text names, separated by commas; each is spelled as `judge_from` reads it."""
    try:
        spelled: list[Any] = parse_override(f"[{text}]")
    except LookupError as error:
        raise ConfigError([f"judge: {text!r} is not {EXAMPLES}: {error}"]) from error
    if not spelled:
        raise UserError(f"judge: the text is empty; expected {EXAMPLES}")
    return [_judge(judge) for judge in spelled]


def _judge(spelled: Any) -> JudgeProtocol:
    if isinstance(spelled, str) and Path(spelled).suffix in (".yaml", ".yml"):
        return load(_Chosen, Path(spelled)).judge
    return load(_Chosen, {"judge": spelled}).judge

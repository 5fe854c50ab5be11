"""The dictionary of objectives: one entry for every class of every union, read from the classes."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import Any

import yaml

from overopt.config import name_of
from overopt.config.blocks import union_members, unwrap
from overopt.config.describing import describe_fields
from overopt.config.messages import did_you_mean
from overopt.errors import UserError
from overopt.objectives.advantages import Advantage
from overopt.objectives.controllers import Controller
from overopt.objectives.missing_eos import MissingEOS
from overopt.objectives.pair_losses import PairLoss
from overopt.objectives.policy_losses import PolicyLoss
from overopt.objectives.ranking_losses import RankingLoss
from overopt.objectives.regularizers import LossRegularizer, RewardRegularizer
from overopt.objectives.reward_losses import RewardLoss

UNIONS: dict[str, Any] = {
    "pair_loss": PairLoss,
    "ranking_loss": RankingLoss,
    "reward_loss": RewardLoss,
    "reward_regularizer": RewardRegularizer,
    "loss_regularizer": LossRegularizer,
    "advantage": Advantage,
    "policy_loss": PolicyLoss,
    "controller": Controller,
    "missing_eos": MissingEOS,
}
"""Kind -> the registry."""

WHERE = {
    "pair_loss": "offline: loss",
    "ranking_loss": "offline: loss",
    "reward_loss": "reward_model: loss",
    "reward_regularizer": "online: regularizers",
    "loss_regularizer": "online: loss_regularizers",
    "advantage": "online: advantage",
    "policy_loss": "online: loss",
    "controller": "online: regularizers.N.coef",
    "missing_eos": "online: missing_eos",
}
"""Kind -> the stage and the configuration key that take it."""

OTHER_LIBRARIES = Path(__file__).with_name("other_libraries.yaml")

Entry = dict[str, Any]


@functools.cache
def other_libraries() -> dict[str, dict[str, dict[str, Any]]]:
    """Return kind -> name -> library -> how that library spells it: a text, or for TRL a mapping."""
    tree: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(OTHER_LIBRARIES.read_text(encoding="utf-8"))
    return tree


def classes(kind: str) -> tuple[type, ...]:
    """Return the classes of a kind's union, in its order."""
    return union_members(unwrap(UNIONS[kind])[0])[0]


def dictionary(name: str | None = None) -> list[Entry]:
    """Return entries `name, kind, formula, fields, needs, source, elsewhere`: all, or those of a name."""
    return [row for row, _ in find_objectives(name)]


def find_objectives(name: str | None = None) -> list[tuple[Entry, type]]:
    """Return all entries with their classes, or those of a YAML name or class name. UserError if there is none."""
    everything = [(_row(kind, cls), cls) for kind in UNIONS for cls in classes(kind)]
    if name is None:
        return everything
    chosen = [(row, cls) for row, cls in everything if name.lower() in (row["name"], cls.__name__.lower())]
    if not chosen:
        raise UserError(
            f"no objective is called {name!r} ({did_you_mean(name, dict.fromkeys(r['name'] for r, _ in everything))})"
        )
    return chosen


def _row(kind: str, cls: Any) -> Entry:
    return {
        "name": name_of(cls),
        "kind": kind,
        "formula": cls.formula,
        "fields": describe_fields(cls),
        "needs": sorted(cls.needs),
        "source": cls.source,
        "elsewhere": other_libraries().get(kind, {}).get(name_of(cls), {}),
    }


def split_docstring(cls: type) -> tuple[str, str]:
    """Return the docstring's first paragraph on one line, and the rest unchanged."""
    first, _, rest = inspect.cleandoc(cls.__doc__ or "").partition("\n\n")
    return " ".join(first.split()), rest


def translation(library: str, words: Any) -> str:
    """Return another library's spelling: `CPOTrainer(loss_type='simpo', beta=alpha), where cpo_alpha == 0`."""
    if not isinstance(words, dict):
        return f"{words}"
    rest = dict(words)
    trainer, condition = rest.pop("trainer", library), rest.pop("when", None)
    arguments = ", ".join(f"{key}={value}" for key, value in rest.items())
    return f"{trainer}({arguments})" + (f", where {condition}" if condition else "")

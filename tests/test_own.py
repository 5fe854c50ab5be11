"""A class from a file of the user's in the place of each kind: a run is made with it, and its record rebuilds it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny import Chain

from overopt.config import load
from overopt.config.overrides import dotted
from overopt.errors import ConfigError, UserError
from overopt.evaluation import evaluate_run
from overopt.objectives.dictionary import UNIONS
from overopt.training.stages import STAGES
from overopt.training.train import train

MINE = """
from __future__ import annotations

import torch

from overopt.config import block
from overopt.objectives import plackett_luce as ranks


@block
class Pair:
    needs = frozenset({"reference"})
    separable = True
    scale: float = 0.5

    def __call__(self, scores):
        chosen_P, rejected_P = self.reward(scores)
        return torch.nn.functional.softplus(rejected_P - chosen_P)

    def reward(self, scores):
        return self.scale * scores.chosen.log_ratio_P, self.scale * scores.rejected.log_ratio_P


@block
class Remembering:
    needs = frozenset()
    separable = False
    scale: float = 0.5

    def init(self):
        return {"mean": 0.0}

    def __call__(self, scores, state):
        chosen_P, rejected_P = self.reward(scores)
        gap_P = chosen_P - rejected_P
        return (gap_P - state["mean"]) ** 2, {"mean": 0.9 * state["mean"] + 0.1 * float(gap_P.detach().mean())}

    def reward(self, scores):
        return self.scale * scores.chosen.logp_P, self.scale * scores.rejected.logp_P


@block
class Ranking:
    needs = frozenset()
    separable = True
    takes = "rankings"
    scale: float = 0.5

    def __call__(self, scores):
        return ranks.plackett_luce(torch.stack([self.scale * s.mean_logp_P for s in scores.ranked], 1))

    def reward(self, scores):
        return self.scale * scores.chosen.mean_logp_P, self.scale * scores.rejected.mean_logp_P


@block
class Scores:
    scale: float = 0.5

    def __call__(self, score_PK):
        return self.scale * ranks.plackett_luce(score_PK)


@block
class Bonus:
    needs = frozenset()
    coef: float = 0.1
    scale: float = 0.5

    def __call__(self, rollouts, coef):
        return -coef * self.scale * rollouts.length_B.float()


@block
class Penalty:
    needs = frozenset({"reference"})
    coef: float = 0.1
    scale: float = 0.5

    def __call__(self, update, coef):
        return coef * self.scale * update.ref_log_ratio_BT.abs().sum(1)


@block
class Advantage:
    needs = frozenset()
    scale: float = 0.5

    def __call__(self, rewards):
        return self.scale * (rewards.reward_PG - rewards.reward_PG.median())


@block
class Loss:
    needs = frozenset()
    scale: float = 0.5

    def __call__(self, update):
        return -self.scale * update.advantage_B * update.logp_BT.sum(1)

    def clipped(self, update):
        return None


@block
class Halving:
    scale: float = 0.5

    def init(self):
        return {"coef": 0.4}

    def __call__(self, rollouts, state):
        return state["coef"], {"coef": self.scale * state["coef"]}


@block
class Cut:
    scale: float = 0.5

    def __call__(self, score_B, ended_B):
        return torch.where(ended_B, score_B, self.scale * score_B - 1.0)
"""


@dataclass(frozen=True)
class Place:
    """Where a class stands in a configuration, and the stage that this is one of."""

    stage: str
    cls: str
    address: tuple[str | int, ...]


PLACES = {
    "pair_loss": Place("offline", "Pair", ("loss",)),
    "pair_loss that remembers": Place("offline", "Remembering", ("loss",)),
    "ranking_loss": Place("offline", "Ranking", ("loss",)),
    "reward_loss": Place("reward_model", "Scores", ("loss",)),
    "reward_regularizer": Place("online", "Bonus", ("regularizers", 0)),
    "loss_regularizer": Place("online", "Penalty", ("loss_regularizers", 0)),
    "advantage": Place("online", "Advantage", ("advantage",)),
    "policy_loss": Place("online", "Loss", ("loss",)),
    "controller": Place("online", "Halving", ("regularizers", 0, "coef")),
    "missing_eos": Place("online", "Cut", ("missing_eos",)),
}

SHORT: dict[str, dict[str, Any]] = {
    "offline": {"steps": 2, "checkpoint_every": 2},
    "reward_model": {"pairs": {"name": "sampled", "count": 32}},
    "online": {"total_episodes": 16, "checkpoint_every": 2},
}


def config(chain: Chain, place: Place, spelled: Any) -> dict[str, Any]:
    """A tiny configuration with `spelled` at the place."""
    changes: Any = dict(SHORT[place.stage])
    key, *rest = place.address
    if rest == [0]:
        spelled = [spelled]
    elif rest == [0, "coef"]:
        spelled = [{"name": "kl", "coef": spelled}]
    changes[key] = spelled
    tree: dict[str, Any] = getattr(tiny, place.stage)(chain, **changes)
    return tree


def at(obj: Any, address: tuple[str | int, ...]) -> Any:
    for key in address:
        obj = obj[key] if isinstance(key, int) else getattr(obj, key)
    return obj


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


def test_every_kind_has_a_place_here() -> None:
    assert {name.split()[0] for name in PLACES} == set(UNIONS)


@pytest.mark.parametrize("kind", PLACES)
def test_a_class_of_ones_own_trains_and_is_rebuilt_from_the_record(kind: str, chain: Chain, folder: Path) -> None:
    place = PLACES[kind]
    run = train(config(chain, place, {"name": f"mine:{place.cls}", "scale": 0.25}), folder / "runs" / "x", base=folder)
    assert run.status == "finished"
    rebuilt = at(load(STAGES, run.path / "config.yaml"), place.address)
    assert (type(rebuilt).__name__, rebuilt.scale) == (place.cls, 0.25)
    rows = list(run.iter_metrics())
    assert not any("nonfinite" in row for row in rows)
    if kind == "controller":
        assert [row["coef_0"] for row in rows] == [0.4, 0.1]
    if kind == "loss_regularizer":
        assert rows[-1]["loss/penalty"] > 0
    if kind == "reward_regularizer":
        assert rows[0]["bonus_mean"] == pytest.approx(-0.1 * 0.25 * rows[0]["len_mean"], abs=1e-6)


@pytest.mark.parametrize("kind", PLACES)
def test_what_a_class_of_ones_own_raises_names_it(kind: str, chain: Chain, folder: Path) -> None:
    place = PLACES[kind]
    broken = MINE.replace("self.scale", "self.scael")
    (folder / "mine.py").write_text(broken)
    message = f"^{folder}/mine.py:{place.cls} raised AttributeError: .* no attribute 'scael' .*mine.py, line"
    with pytest.raises(UserError, match=message):
        train(config(chain, place, {"name": f"mine:{place.cls}"}), folder / "run", base=folder)


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine:Nowhere", "'.*mine.py' has no class 'Nowhere'"),
        ("nowhere:Mine", "cannot load 'nowhere': ModuleNotFoundError"),
        ("mine:Empty", "'.*mine.py:Empty' lacks __call__"),
        ("mine:Plain", "'.*mine.py:Plain' is not decorated with @overopt.config.block"),
    ],
)
def test_what_is_wrong_is_said_at_its_place(kind: str, name: str, message: str, chain: Chain, folder: Path) -> None:
    with (folder / "mine.py").open("a") as file:
        file.write("\n\n@block\nclass Empty:\n    scale: float = 1.0\n\n\nclass Plain:\n    pass\n")
    place = PLACES[kind]
    with pytest.raises(ConfigError, match=f"^{dotted(place.address)}: {message}"):
        load(STAGES, config(chain, place, {"name": name}), base=folder)


def test_a_field_of_ones_own_is_checked_like_any_other(chain: Chain, folder: Path) -> None:
    tree = config(chain, PLACES["pair_loss"], {"name": "mine:Pair", "scael": 1.0, "scale": "large"})
    with pytest.raises(ConfigError) as error:
        load(STAGES, tree, base=folder)
    assert error.value.problems == [
        'loss.scale: expected a number, got "large"',
        "loss.scael: unknown key (did you mean 'scale'? valid: scale)",
    ]


TASK = """
from __future__ import annotations

from overopt.config import block
from overopt.tasks import Miniature


@block
class Longest(Miniature):
    def gold(self, record, completion):
        return float(len(completion.text.split()))


@block
class NoTask:
    pass
"""


def test_a_task_of_ones_own_is_trained_on_and_evaluated_again(chain: Chain, folder: Path) -> None:
    (folder / "task.py").write_text(TASK)
    task = tiny.TASK | {"name": "task:Longest", "evaluation_count": 4}
    run = train(tiny.online(chain, task=task, **SHORT["online"]), folder / "run", base=folder)
    for row in (*run.evaluations(), *evaluate_run(run.path)):
        assert row["gold_mean"] == pytest.approx(row["len_mean"] - row["eos_rate"])


def test_what_is_no_task_is_refused_with_what_it_lacks(chain: Chain, folder: Path) -> None:
    (folder / "task.py").write_text(TASK)
    message = r"^task: '.*task.py:NoTask' lacks demonstrations\(seed, dropped\), .*, has_gold, prompt_style"
    with pytest.raises(ConfigError, match=message):
        load(STAGES, tiny.online(chain, task={"name": "task:NoTask"}), base=folder)


OTHERS = """
from overopt.config import block


@block
class Empty:
    pass


@block
class Always:
    at = "update"

    def problems(self, history):
        yield from ("always" for _ in history.updates)
"""


@pytest.mark.parametrize(
    ("address", "lacking"),
    [
        (("optimizer",), r"build\(parameters, lr\)"),
        (("schedule",), r"__call__\(step, steps\)"),
        (("stop_when", 0), r"problems\(history\)"),
        (("sinks", 0), r"open\(run\)"),
    ],
)
def test_every_other_kind_has_a_contract_too(
    address: tuple[str | int, ...], lacking: str, chain: Chain, folder: Path
) -> None:
    (folder / "others.py").write_text(OTHERS)
    key, *rest = address
    spelled = {str(key): ["others:Empty"] if rest else "others:Empty"}
    with pytest.raises(ConfigError, match=f"^{dotted(address)}: '.*others.py:Empty' lacks {lacking}"):
        load(STAGES, tiny.online(chain, **spelled), base=folder)


def test_a_condition_of_ones_own_ends_a_run(chain: Chain, folder: Path) -> None:
    (folder / "others.py").write_text(OTHERS)
    run = train(tiny.online(chain, stop_when=["others:Always"], **SHORT["online"]), folder / "run", base=folder)
    assert (run.status, run.info["stopped_at"], run.info["reason"]) == ("stopped", 1, "always")

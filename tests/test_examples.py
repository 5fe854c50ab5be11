"""The YAMLs under examples/ are valid, named after their stage, agree on what they hold out, and cover everything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from overopt.config import dump, load
from overopt.evaluation.judges import Comparison, Situation, judge_from
from overopt.objectives.dictionary import dictionary
from overopt.studies.expand import expand
from overopt.tasks import Local
from overopt.training.stages import STAGES
from overopt.training.train import check_provenance, train
from overopt.types import Completion, Dropped, PromptRecord

if TYPE_CHECKING:
    from tiny import Chain

EXAMPLES = Path(__file__).parents[1] / "examples"
YAMLS = sorted(path for path in EXAMPLES.rglob("*.yaml") if not {"sweeps", "recipes"} & set(path.parts))
SWEEPS = sorted((EXAMPLES / "sweeps").glob("*.yaml"))


def read(path: Path) -> Any:
    return load(STAGES, path)


def test_every_stage_has_an_example() -> None:
    assert {path.name.removesuffix("_miniature.yaml") for path in EXAMPLES.glob("*.yaml")} == set(STAGES)


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.name)
def test_it_is_valid_and_bears_its_stage_in_its_name(path: Path) -> None:
    stage = read(path)
    check_provenance(stage)
    assert path.name.startswith(stage.stage)
    assert [line for line in path.read_text("utf-8").splitlines() if line.startswith("lr: ")]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.name)
def test_every_run_of_a_sweep_is_valid(path: Path, tmp_path: Path) -> None:
    study = expand(path)
    assert all(run in path.read_text("utf-8") for run in {name.split("-")[0] for name in study.runs})
    if path.stem == "kl_strength":
        assert len(study.runs) == 4 + 2 * 3 * 2 + 2
        assert study.runs["kl-coef=0.05-lr=2e-5-seed=1"].config["regularizers"] == [{"name": "kl", "coef": 0.05}]
        assert study.runs["none-seed=1"].parents == ("sft-seed=1", "reward_model-seed=1")


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.name)
def test_every_departure_from_the_recipe_says_so(path: Path) -> None:
    """What differs from the stage's defaults is tagged, but for what names the work: task, parents, pairs, machine."""
    stage = read(path)
    free = {"task", "policy", "reward_model", "reference", "pairs", "seed", "compute", "checkpoint_every"}
    tagged = {address.split(".")[0] for address in stage.provenance}
    for name, field in type(stage).__pydantic_fields__.items():
        if name not in free and getattr(stage, name) != field.get_default(call_default_factory=True):
            assert name in tagged | {"provenance"}, f"{path.name}: {name} departs from the recipe without a tag"


def test_parents_do_not_depend_on_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    online = read(EXAMPLES / "online_miniature.yaml")
    assert Path(online.policy).resolve() == EXAMPLES.parent / "out" / "sft"


def test_the_real_model_is_trained_and_tested_on_the_same_split() -> None:
    tasks = [read(path).task for path in (EXAMPLES / "smollm2_llmbar").glob("*.yaml")]
    assert len(tasks) == 4
    assert all(task == tasks[0] for task in tasks)


@pytest.mark.parametrize(("name", "count"), [("natural", 100), ("adversarial_neighbor", 134)])
def test_llmbar_is_read_whole_and_no_prompt_is_on_both_sides(name: str, count: int) -> None:
    task = Local(path=str(EXAMPLES / "data" / f"llmbar_{name}.json"), prompt_style="chat_template", holdout=0.2)
    train, heldout = task.preferences(0, Dropped()), task.evaluation_preferences(0, Dropped())[1]
    assert len(train) + len(heldout) == count
    assert not {pair.prompt_id for pair in train} & {pair.prompt_id for pair in heldout}
    assert 0.1 < len(heldout) / count < 0.3


# Every objective, and everything of one's own

STAGE = {"pair_loss": "offline", "ranking_loss": "offline", "reward_loss": "reward_model"}
"""Kind -> stage; all others are the online stage's."""


@pytest.mark.parametrize("row", dictionary(), ids=lambda row: f"{row['kind']}-{row['name']}")
def test_every_objective_has_an_example_that_names_it(row: dict[str, Any]) -> None:
    stage = STAGE.get(row["kind"], "online")
    path = EXAMPLES / "objectives" / f"{stage}_{row['name']}.yaml"
    assert row["name"] in names_in(dump(read(path)))
    assert f"overopt train examples/objectives/{path.name} " in path.read_text("utf-8")


def names_in(tree: Any) -> set[str]:
    """Every name that a configuration chooses."""
    if isinstance(tree, list):
        return set().union(*map(names_in, tree))
    if not isinstance(tree, dict):
        return set()
    own = {tree["name"]} if isinstance(tree.get("name"), str) else set()
    return own.union(*map(names_in, tree.values()))


def briefly(path: Path, chain: Chain, out: Path) -> Any:
    """One update of an example, with the test suite's parents."""
    found = read(path)
    settings = {"policy": chain.policy, "checkpoint_every": 1, "max_completion_tokens": 24}
    if found.reward_model is not None:
        settings["reward_model"] = chain.reward_model
    if found.stage == "offline":
        settings |= {"steps": 1, "batch_size": 8, "pairs.path": chain.reward_model}
    else:
        settings |= {"samples_per_prompt": 2, "episodes_per_update": 8, "total_episodes": 8}
    if not isinstance(found.task, Local):
        settings |= {"task.prompt_count": 8, "task.evaluation_count": 8}
    return train(path, out, [(address, str(value)) for address, value in settings.items()])


def test_a_loss_of_ones_own(chain: Chain, tmp_path: Path) -> None:
    run = briefly(EXAMPLES / "own" / "offline_loss.yaml", chain, tmp_path / "run")
    (row,) = run.iter_metrics()
    assert row["rewards_margin"] == pytest.approx(2 * (row["logps_chosen_mean"] - row["logps_rejected_mean"]), abs=1e-5)
    assert run.config["loss"]["name"].endswith("examples/own/my_loss.py:ExponentialLoss")
    assert load(STAGES, run.path / "config.yaml").loss.scale == 2.0


def test_rewards_of_ones_own(chain: Chain, tmp_path: Path) -> None:
    (row,) = briefly(EXAMPLES / "own" / "online_rewards.yaml", chain, tmp_path / "run").iter_metrics()
    assert row["score_mean"] == pytest.approx(2 * row["reward/facts_told"] + row["reward/brevity"], abs=1e-5)
    assert 0 <= row["reward/facts_told"] <= 1 and -1 <= row["reward/brevity"] <= 0


def test_a_task_of_ones_own(chain: Chain, tmp_path: Path) -> None:
    run = briefly(EXAMPLES / "own" / "online_task.yaml", chain, tmp_path / "run")
    row = run.evaluations()[-1]
    assert row["judge"] == "gold" and row["n"] == 8
    task = load(STAGES, run.path / "config.yaml").task
    post = task.prompts(0, Dropped())[0]
    four_words = Completion("my mom sold car")
    assert task.gold(post, four_words) == pytest.approx(type(task)(price=0.0).gold(post, four_words) - 0.4)


def test_a_gold_reward_of_ones_own(chain: Chain, tmp_path: Path) -> None:
    run = briefly(EXAMPLES / "own" / "online_gold.yaml", chain, tmp_path / "run")
    first, last = run.evaluations()
    assert first["judge"] == "gold" and last["win_rate"] is not None
    task = read(EXAMPLES / "own" / "online_gold.yaml").task
    post = task.prompts(0, Dropped())[0]
    words = post.meta["words"]
    assert task.gold(post, Completion(" ".join(words))) == pytest.approx(0.9 * len(words))


def test_a_judge_of_ones_own() -> None:
    """Shares of words that the post holds: 1/2 against 1, 1 against 2/3, 0 of no words against 0."""
    texts = [("cat dog", "cat"), ("my cat", "my cat sleeps"), ("", "dog")]
    pairs = [Comparison(PromptRecord("p", "my cat purrs"), Completion(a), Completion(b)) for a, b in texts]
    named = f"{EXAMPLES}/own/my_judge.py:Extractive"
    for text, expected in ((named, [0.0, 1.0, 0.5]), (f"{{name: {named}, margin: 0.4}}", [0.0, 0.5, 0.5])):
        assert [j.outcome for j in judge_from(text).judge(pairs, Situation())] == expected

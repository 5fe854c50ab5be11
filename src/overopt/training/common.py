"""What all stages share: field types, parents, evaluators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from overopt.engine.packing import Tree
from overopt.errors import UserError
from overopt.evaluation.evaluator import Evaluator
from overopt.models.body import Body
from overopt.models.confirm import go_by_rows
from overopt.models.load import load_policy, load_reward_model
from overopt.models.policy import Policy
from overopt.models.properties import check_reach
from overopt.models.reward_model import RewardModel
from overopt.models.text import Codec
from overopt.training.data import Limits, encode_prompts
from overopt.training.session import Session

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0)]
Temperature = Annotated[float, Field(gt=0)]

Keep = Literal["last", "every", "best"]
"""Which checkpoints stay: the last, every one, or the one with the best win rate (held-out accuracy of pairs, where no
judge looks at completions). The run goes on from states of its own, whichever stay."""

Provenance = dict[str, Literal["paper", "recipe", "trl", "our choice"]]
"""Where a setting that departs from the recipe comes from, by its address."""

POLICY_STAGES = ("sft", "online", "offline")


def parent_policy(session: Session, role: str, location: str) -> Policy:
    """The policy of a parent run or a model folder."""
    folder = session.parent(role, location, POLICY_STAGES)
    policy = load_policy(folder, session.device, session.compute.bf16)
    fit_window(policy, session.config)
    if session.compute.gradient_checkpointing == "layers":
        policy.checkpoint_layers()
    return policy


def parent_reward_model(session: Session, location: str) -> RewardModel:
    """The frozen reward model of a parent run or a model folder."""
    folder = session.parent("reward_model", location, ("reward_model",))
    reward_model = load_reward_model(folder, session.device, session.compute.bf16)
    fit_window(reward_model, session.config)
    return reward_model


def fit_window(model: Body, config: Any) -> None:
    """Refuse limits beyond the model's positions; where its window is shorter than what they admit, it goes by rows."""
    check_reach(model.model, config.max_prompt_tokens, config.max_completion_tokens, model.name)
    longest = config.max_prompt_tokens + config.max_completion_tokens
    if model.trees and model.window is not None and model.window < longest:
        go_by_rows(model)


def make_evaluator(
    config: Any,
    session: Session,
    codec: Codec,
    temperature: float,
    reward_model: RewardModel | None = None,
    reference: Policy | None = None,
) -> Evaluator:
    """The evaluator of a run, on the evaluation prompts that its seed may read."""
    dropped = session.dropped("evaluation")
    split, records = config.task.evaluation(config.seed, dropped)
    limits = Limits(config.max_prompt_tokens, config.max_completion_tokens)
    fitting = [p.record for p in encode_prompts(codec, records, limits, dropped)]
    if not fitting:
        raise UserError(f"task: no prompt is left to evaluate on (dropped: {dict(dropped.reasons)})")
    return Evaluator(
        task=config.task,
        codec=codec,
        split=split,
        records=fitting,
        seed=config.seed,
        max_completion_tokens=config.max_completion_tokens,
        temperature=temperature,
        token_budget=session.compute.evaluation_budget,
        judge="gold" if config.task.has_gold else "none",
        reward_model=reward_model,
        reference=reference,
    )


def tokens_in(trees: Sequence[Tree]) -> int:
    """Tokens that a batch of trees holds, each prompt counted once."""
    return sum(tree.size for tree in trees)

"""What the loops of all stages share: parents and evaluators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from overopt.engine.packing import Tree
from overopt.errors import UserError
from overopt.evaluation.evaluator import Evaluator
from overopt.models.body import Body
from overopt.models.load import load_policy, load_reward_model
from overopt.models.policy import Policy
from overopt.models.scorer import Scorer
from overopt.models.text import Codec
from overopt.models.verify import check_limits
from overopt.models.vocabulary import check_reference
from overopt.training.data import Limits, encode_prompts
from overopt.training.run.session import Session

POLICY_STAGES = ("sft", "online", "offline")


def parent_policy(session: Session, role: str, location: str) -> Policy:
    """The policy of a parent run or a model folder."""
    folder = session.parent(role, location, POLICY_STAGES)
    policy = load_policy(folder, session.device, session.compute.bf16)
    fit_window(policy, session.config)
    if session.compute.gradient_checkpointing == "layers":
        policy.checkpoint_layers()
    return policy


def parent_reference(session: Session, location: str, policy: Policy, dense: bool = False) -> Policy:
    """The frozen reference of a parent run or a model folder, to which the policy's ids mean the same."""
    reference = parent_policy(session, "reference", location)
    check_reference(policy, reference, dense)
    reference.freeze()
    return reference


def parent_scorer(session: Session, location: str, codec: Codec) -> Scorer:
    """The frozen reward model of a parent run or a model folder, to score what a policy of this codec writes."""
    folder = session.parent("reward_model", location, ("reward_model",))
    reward_model = load_reward_model(folder, session.device, session.compute.bf16)
    fit_window(reward_model, session.config)
    scorer = Scorer(reward_model, codec, session.notice)
    for notice in scorer.notices:
        session.notice(notice)
    return scorer


def fit_window(model: Body, config: Any) -> None:
    """Hold a model's positions and window against what a stage's limits admit."""
    check_limits(model, config.max_prompt_tokens, config.max_completion_tokens)


def make_evaluator(
    config: Any,
    session: Session,
    codec: Codec,
    temperature: float,
    scorer: Scorer | None = None,
    reference: Policy | None = None,
) -> Evaluator:
    """The evaluator of a run, on the evaluation prompts that its seed may read."""
    dropped = session.dropped("evaluation")
    split, records = config.task.evaluation(config.seed, dropped)
    limits = Limits(config.max_prompt_tokens, config.max_completion_tokens)
    fitting = [p.record for p in encode_prompts(codec, records, limits, dropped)]
    dropped.kept = len(fitting)
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
        scorer=scorer,
        reference=reference,
    )


def tokens_in(trees: Sequence[Tree]) -> int:
    """Tokens that a batch of trees holds, each prompt counted once."""
    return sum(tree.size for tree in trees)

"""A reward model: a causal body with a scalar head, whose score is read at the last token of the completion."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from overopt.engine import ranks
from overopt.engine.packing import Packed, Tree, micro_batches, pack
from overopt.errors import UserError
from overopt.models.body import Body, with_attention
from overopt.models.policy import Policy
from overopt.models.reward_heads import STANDARD, RewardHead
from overopt.tasks.base import PromptStyle


class RewardModel(Body):
    """r(x, y) = (head(h_last) - mean) / scale.

    It is saved as a folder of `AutoModelForSequenceClassification` with one label. The config has three more fields:
    `reward_mean`, `reward_scale`, and `reward_prompt_style`, the prompt style of the training texts.
    """

    peft_task: ClassVar[str] = "SEQ_CLS"
    trained_whole: ClassVar[tuple[str, ...]] = ("score",)
    head_is_halved: ClassVar[bool] = False

    def __init__(self, model: Any, tokenizer: Any, bf16: bool = False) -> None:
        super().__init__(model, tokenizer, model.score, bf16)
        self.normalized = hasattr(model.config, "reward_mean")
        self.mean = float(getattr(model.config, "reward_mean", 0.0))
        self.scale = float(getattr(model.config, "reward_scale", 1.0))
        self.prompt_style: PromptStyle | None = getattr(model.config, "reward_prompt_style", None)
        """The prompt style of its training texts; None: unknown, it was trained elsewhere."""
        self.foreign = self.prompt_style is None and not self.normalized
        """Whether it was trained elsewhere, so that texts are ended and read as other trainers do."""
        self.own_head = ""
        """The name of its head, if it is not the `score` of transformers."""
        head: RewardHead | None = getattr(model, "reward_head", None)
        if head is not None and head.weight is not None:
            self.own_head, self.foreign = head.name if head.name != STANDARD else "", True
        if head is not None and head.mean is not None:
            self.normalize(head.mean, head.scale)

    @classmethod
    def from_policy(
        cls, policy: Policy, generator: torch.Generator, prompt_style: PromptStyle | None = None
    ) -> RewardModel:
        """A copy of the policy's body under a new head with weights ~ N(0, 1/sqrt(d+1)), to be trained."""
        config = copy.deepcopy(policy.model.config)
        # transformers reads the last token that is not padding, we read the last: an end token must not be padding
        config.num_labels, config.pad_token_id = 1, None if policy.pad_id in policy.end_ids else policy.pad_id
        if prompt_style is not None:
            config.reward_prompt_style = prompt_style
        with torch.device("meta"):
            model = _classifier(config)
        setattr(model, model.base_model_prefix, copy.deepcopy(policy.model.base_model))
        width = model.score.in_features
        model.score = nn.Linear(width, 1, bias=False)
        with torch.no_grad():
            model.score.weight.normal_(0.0, (width + 1) ** -0.5, generator=generator)
        reward_model = cls(model.to(policy.device).requires_grad_(True), policy.tokenizer, policy.bf16)
        reward_model.tree_attention, reward_model.flex_attention = policy.tree_attention, policy.flex_attention
        return reward_model

    def raw_score(self, packed: Packed) -> Tensor:
        """head(h_last) of the B completions: what is trained, before normalization; differentiable."""
        hidden_BD = self.hidden(packed)[packed.last_B]
        return self.head(hidden_BD.float())[:, 0]

    def score(self, packed: Packed) -> Tensor:
        """Normalized scores of the B completions; differentiable."""
        return (self.raw_score(packed) - self.mean) / self.scale

    @torch.no_grad()
    def score_trees(self, trees: Sequence[Tree], token_budget: int) -> Tensor:
        """Normalized scores of all completions, in order, without gradient."""
        own = ranks.share(trees)
        parts = [self.score(pack([own[i] for i in batch], self.device)) for batch in micro_batches(own, token_budget)]
        return ranks.gathered_rows(torch.cat([torch.zeros(0, device=self.device), *parts]))

    def normalize(self, mean: float, scale: float) -> None:
        """From now on subtract `mean` from raw scores and divide them by `scale`."""
        self.mean, self.scale, self.normalized = mean, scale, True
        self.model.config.reward_mean, self.model.config.reward_scale = mean, scale


def _classifier(config: Any) -> Any:
    """The one-label classifier of a causal model's configuration; UserError if transformers has none that fits."""
    from transformers import AutoModelForSequenceClassification as Classifier

    try:
        model = with_attention(Classifier.from_config, config)
    except ValueError as error:
        raise UserError(
            f"policy: transformers has no sequence classifier for {config.model_type} models, so none can become a "
            "reward model; start it from a model of another architecture"
        ) from error
    if not isinstance(getattr(model, "score", None), nn.Linear):
        raise UserError(
            f"policy: {config.model_type} models cannot become reward models: their classifier has no `score`"
        )
    return model

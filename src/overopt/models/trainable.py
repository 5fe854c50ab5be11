"""What of a model is trained: all of it, or LoRA's small matrices beside its frozen weights."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import Field

from overopt.config import Choice, Positive, block
from overopt.errors import UserError
from overopt.models.adapter import base_fields, insert, peft
from overopt.models.body import Body, is_linear

Dropout = Annotated[float, Field(ge=0, lt=1)]


class TrainableProtocol(Protocol):
    """What a choice of trained weights has."""

    @abstractmethod
    def prepare(self, body: Body, seed: int) -> None:
        """Freeze what is not trained, and add what training adds; `seed` is for the draws of new weights."""


@block
class Full(TrainableProtocol):
    """Every weight is trained."""

    def prepare(self, body: Body, seed: int) -> None:
        return


@block
class LoRA(TrainableProtocol):
    """W x + (alpha / rank) B A x: W is frozen, A and B have `rank` rows or columns (Hu et al. 2021), by PEFT.

    B is 0 at first, so training starts from the model as it is. A policy without its adapter is its reference, which
    then takes no memory. Of a reward model the head is trained too. Checkpoints hold the adapter alone.
    """

    config_name: ClassVar[str] = "lora"

    rank: Annotated[int, Field(gt=0)] = 16
    alpha: Positive = 32
    dropout: Dropout = 0.0
    """The share of A's inputs that is dropped at random while gradients are gathered; not in online runs, whose ratios
    compare the policy with itself."""
    targets: Literal["auto"] | Annotated[list[str], Field(min_length=1)] = "auto"
    """The linear maps that are adapted, by the last parts of their names; auto: all but the head."""

    def prepare(self, body: Body, seed: int) -> None:
        targets = self._targets(body)
        config = peft().LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=targets,
            task_type=body.peft_task,
            **base_fields(str(body.model.config.name_or_path)),
        )
        body.adapter = insert(body.model, config, body.trained_whole, seed)
        body.halve_frozen()

    def _targets(self, body: Body) -> list[str]:
        """The targets' names; UserError if one matches nothing, or what cannot be adapted."""
        maps = linear_maps(body)
        known = sorted({name.rpartition(".")[2] for name in maps})
        if not maps:
            raise UserError(f"trainable: this {body.model.config.model_type} model has no linear maps that LoRA adapts")
        if self.targets == "auto":
            others = {name.rpartition(".")[2] for name, _ in body.model.named_modules() if name not in maps}
            return sorted({name if (last := name.rpartition(".")[2]) in others else last for name in maps})
        for target in self.targets:
            if not any(name == target or name.endswith(f".{target}") for name in maps):
                raise UserError(
                    f"trainable.targets: {target!r} matches no linear map of {body.name} (beside its head, which is "
                    f"not adapted); it has {', '.join(known)}"
                )
        return list(self.targets)


Trainable = Annotated[Full | LoRA, Choice(TrainableProtocol)]


def linear_maps(body: Body) -> dict[str, Any]:
    """The linear maps of a model that LoRA can adapt, by name: all but the head."""
    return {
        name: module for name, module in body.model.named_modules() if is_linear(module) and module is not body.head
    }

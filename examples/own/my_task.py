"""A task of one's own: a block with the methods of `overopt.tasks.TaskProtocol`, here most of them inherited."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from overopt.config import block
from overopt.tasks import Miniature
from overopt.types import Completion, PromptRecord


@block
class Telegrams(Miniature):
    """The miniature's posts, with a gold reward by which every word costs."""

    price: Annotated[float, Field(ge=0)] = 0.1

    def gold(self, record: PromptRecord, completion: Completion) -> float | None:
        gold = super().gold(record, completion)
        return None if gold is None else gold - self.price * len(completion.text.split())

"""Your own task: a block with the methods of `overopt.tasks.TaskProtocol`, most of which are inherited here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from overopt.config import block
from overopt.tasks import Miniature
from overopt.types import Completion, PromptRecord


@block
class Telegrams(Miniature):
    """The miniature's posts, with a gold reward in which every word has a price."""

    price: Annotated[float, Field(ge=0)] = 0.1

    def gold(self, record: PromptRecord, completion: Completion) -> float | None:
        gold = super().gold(record, completion)
        return None if gold is None else gold - self.price * len(completion.text.split())

"""Scores completions of a policy by a reward model that may have another tokenizer, chat template or prompt style."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from overopt.engine.packing import Tree
from overopt.errors import UserError, say
from overopt.models.properties import max_positions
from overopt.models.reward_model import RewardModel
from overopt.models.text import Codec
from overopt.models.verify import use_row_forward
from overopt.models.vocabulary import encode_identically, model_location, vocabulary_differences
from overopt.types import Completion, Preference, PromptRecord

LARGEST = torch.finfo(torch.float32).max ** 0.5
"""The square of a larger score overflows float32, and with it variances and gradient norms."""


class Scorer:
    """Scores a policy's completions in the form in which the reward model was trained to read texts.

    If both share vocabulary, prompt style and template, the sampled ids are scored directly. Else each text is decoded
    and encoded again in the reward model's own tokens and prompt style. A classifier that was not trained here reads,
    under `chat_template`, the conversation to its very end, with what its template writes after the last turn.
    `notices` tell the user which of this applies.

    A text that has more of the reward model's tokens than it has positions (no limit on the policy's tokens rules this
    out) is scored without its beginning; BOS and the end stay. `notice` is called at the 1st, 10th, 100th such text.
    """

    def __init__(self, reward_model: RewardModel, written: Codec, notice: Callable[[str], None] = say) -> None:
        self.reward_model = reward_model
        self.notice = notice
        self.name = f"reward_model: {model_location(reward_model)}"
        self.notices: list[str] = []
        self.direct = self._shares(written)
        self.codec = written if self.direct else self._codec(written)
        if reward_model.own_head:
            self.notices.append(
                f"{self.name}: its score is the head {reward_model.own_head} at the last token; the value head of a "
                "PPO run would be no reward"
            )
        foreign = reward_model.foreign
        config = reward_model.model.config.get_text_config()
        self._after_end = self.codec.ids_after_end if foreign and reward_model.tokenizer.chat_template else []
        self._padding = getattr(config, "pad_token_id", None) if foreign else None
        self._reach = max_positions(reward_model.model)
        self.cut = 0
        """How many texts were scored without their beginning."""
        self._rows = reward_model.model.get_input_embeddings().weight.shape[0]

    def score(
        self,
        records: Sequence[PromptRecord | Preference],
        completions: Sequence[Completion],
        trees: Sequence[Tree],
        token_budget: int,
    ) -> Tensor:
        """Finite scores `[B]` of all completions, in order.

        `trees` hold the prompt and the completions of each record as the policy's ids, `completions` their texts.
        """
        rows = iter(completions)
        texts = [[next(rows) for _ in tree.completions] for tree in trees]
        read = [part for tree in self._own_trees(records, texts, trees) for part in self._within_reach(tree)]
        self._fit_window(read)
        score_B = self.reward_model.score_trees(read, token_budget)
        check_finite(score_B, self.name, "are its weights damaged, or is it a model of another kind?")
        return score_B

    def _own_trees(
        self, records: Sequence[PromptRecord | Preference], texts: Sequence[list[Completion]], trees: Sequence[Tree]
    ) -> Iterator[Tree]:
        """The trees in the reward model's ids: those that it shares as they are, the others encoded again."""
        again = [i for i, tree in enumerate(trees) if not self._can_read(tree)]
        encoded = self.codec.encode([records[i] for i in again], [texts[i] for i in again])
        own = dict(zip(again, encoded, strict=True))
        for i, (tree, completions) in enumerate(zip(trees, texts, strict=True)):
            prompt, rows = own.get(i, (tree.prompt, tree.completions))
            ends = [c.ended for c in completions]
            if i not in own:
                rows = [self._with_own_end(row) if ended else row for row, ended in zip(rows, ends, strict=True)]
            if self._after_end:
                rows = [[*row, *self._after_end] if ended else row for row, ended in zip(rows, ends, strict=True)]
            yield Tree(prompt, rows if self._padding is None else [_unpadded(row, self._padding) for row in rows])

    def _can_read(self, tree: Tree) -> bool:
        """Whether the policy's ids of a tree are the reward model's, and it has an embedding for each."""
        return self.direct and all(max(ids, default=0) < self._rows for ids in tree.completions)

    def _with_own_end(self, ids: Sequence[int]) -> Sequence[int]:
        """A completion's ids with the end token of the training data, whichever end token the policy sampled."""
        return ids if ids[-1] == self.codec.end_id else [*ids[:-1], self.codec.end_id]

    def _within_reach(self, tree: Tree) -> Iterator[Tree]:
        """The tree; if its prompt is empty or a text is too long, a tree for each text, cut."""
        reach, longest = self._reach, len(tree.prompt) + max(map(len, tree.completions), default=0)
        if tree.prompt and (reach is None or longest <= reach):
            yield tree
            return
        for row in tree.completions:
            ids = [*tree.prompt, *row] or [self.codec.end_id]
            if reach is not None and len(ids) > reach:
                self._tell_cut(len(ids), reach)
                front = [i for i in ids[:1] if i == self.reward_model.tokenizer.bos_token_id]
                ids = front + ids[len(ids) - reach + len(front) :]
            begin = max(1, len(ids) - len(row))
            yield Tree(ids[:begin], [ids[begin:]])

    def _tell_cut(self, tokens: int, reach: int) -> None:
        self.cut += 1
        if str(self.cut).strip("0") == "1":
            self.notice(
                f"{self.name}: a text is {tokens} of its own tokens, and it reads {reach} at once; such texts, "
                f"{self.cut} so far, are scored without their beginning: lower max_prompt_tokens or "
                "max_completion_tokens to have none"
            )

    def _fit_window(self, trees: Sequence[Tree]) -> None:
        """Switch the model to rows if a text is longer than its attention window."""
        model = self.reward_model
        if model.tree_attention and model.window is not None:
            longest = max(len(tree.prompt) + max(map(len, tree.completions)) for tree in trees)
            if longest > model.window:
                use_row_forward(model)

    def _shares(self, written: Codec) -> bool:
        """Whether the reward model would encode the texts into the policy's ids; if not, `notices` say why."""
        model = self.reward_model
        if found := vocabulary_differences(written.tokenizer, model.tokenizer):
            self.notices.append(
                f"{self.name} has a tokenizer of its own ({'; '.join(found)}; there: the reward model), so each text "
                "is decoded and encoded again for it"
            )
        elif not encode_identically(written.tokenizer, model.tokenizer):
            self.notices.append(f"{self.name} cuts texts into tokens otherwise, so each is encoded again for it")
        style = model.prompt_style or written.prompt_style
        if style != written.prompt_style:
            self.notices.append(
                f"{self.name} was trained under prompt_style {style}, and the task's is {written.prompt_style}; "
                f"it scores each text under {style}, as it was trained"
            )
        own = model.tokenizer.chat_template
        if style == written.prompt_style == "chat_template" and own and own != written.tokenizer.chat_template:
            self.notices.append(f"{self.name} has a chat template of its own; it scores each text under that one")
        return not self.notices

    def _codec(self, written: Codec) -> Codec:
        """The codec of the reward model's own tokenizer and prompt style."""
        model = self.reward_model
        style = model.prompt_style or written.prompt_style
        if style == "chat_template" and not model.tokenizer.chat_template:
            if model.prompt_style is not None:
                raise UserError(f"{self.name} was trained under chat_template, but its tokenizer has no chat template")
            self.notices.append(f"{self.name} has no chat template; it scores each text under prompt_style raw")
            style = "raw"
        return Codec(model.tokenizer, style, model.end_ids, model.known_tokens, written.clock)


def check_finite(score_B: Tensor, who: str, remedy: str) -> None:
    """Raise UserError for scores that are NaN, infinite or too large for an update."""
    broken_B = ~(score_B.abs() < LARGEST)  # NaN is in no order
    if bool(broken_B.any()):
        i = int(broken_B.nonzero()[0])
        raise UserError(
            f"{who} gave {int(broken_B.sum())} of {len(score_B)} completions a score that is not finite or too large "
            f"to train on (completion {i}: {float(score_B[i]):g}); {remedy}"
        )


def _unpadded(ids: Sequence[int], padding: int) -> Sequence[int]:
    """The ids without padding at the end, as a classifier of transformers reads them, even if EOS is padding."""
    end = len(ids)
    while end and ids[end - 1] == padding:
        end -= 1
    return ids[:end]

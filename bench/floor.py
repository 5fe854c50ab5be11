"""The least seconds of a step: FLOPs of its necessary arithmetic over the rate at which this machine multiplies.

Counted, multiplication and addition as two: linear maps, attention and head of each pass over a batch of trees, prompt
once for all its completions, no padding, each place only as far as it is needed (a completion's last token is predicted
but never read; the last layer's outputs are needed only where a token is predicted). Rates are measured here and now,
products of the same sizes with weights of their own, one after another as in the model, by the faster of torch's and
oneDNN's routines. Decoding multiplies few rows with all weights, which is slower by far: its products have rates of
their own.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from overopt.planning.work import Shape

Lengths = tuple[int, list[int]]
"""Tokens of a prompt, and those of each of its completions."""
REPEATS, LEAST_SECONDS = 3, 0.05


@dataclass(frozen=True)
class Flops:
    """Of a forward pass."""

    linear: float
    attention: float
    head: float

    @property
    def body(self) -> float:
        return self.linear + self.attention


def places(trees: Sequence[Lengths]) -> tuple[int, int]:
    """How many tokens are read, and how many of their outputs predict: the prompt's last one for all completions."""
    read = sum(prompt + sum(c - 1 for c in completions) for prompt, completions in trees)
    predicting = sum(1 + sum(c - 1 for c in completions) for _, completions in trees)
    return read, predicting


def forward(shape: Shape, trees: Sequence[Lengths]) -> Flops:
    """A pass over trees."""
    read, predicting = places(trees)
    layer, keys = shape.linear / shape.layers, shape.hidden * shape.key_width
    in_prompts = sum(p * (p + 1) / 2 for p, _ in trees)
    last_of_prompts = sum(p for p, _ in trees)
    in_completions = sum((c - 1) * p + (c - 1) * c / 2 for p, completions in trees for c in completions)
    pairs = (shape.layers - 1) * (in_prompts + in_completions) + last_of_prompts + in_completions
    return Flops(
        linear=2 * (layer * (shape.layers - 1) * read + keys * read + (layer - keys) * predicting),
        attention=4 * shape.hidden * pairs,
        head=2 * shape.hidden * shape.vocabulary * predicting,
    )


def decoding(shape: Shape, trees: Sequence[Lengths]) -> list[tuple[int, Flops]]:
    """The passes of sampling after the prompts': for each next token the rows still being written, and their FLOPs."""
    passes = []
    for t in range(1, max(c for _, completions in trees for c in completions)):
        seen = [prompt + t for prompt, completions in trees for c in completions if c > t]
        linear, head = 2 * shape.linear * len(seen), 2 * shape.hidden * shape.vocabulary * len(seen)
        passes.append((len(seen), Flops(linear, 4 * shape.hidden * shape.layers * sum(seen), head)))
    return passes


@dataclass(frozen=True)
class Rates:
    """FLOPs a second that products of a model's sizes reach here."""

    forward: float
    backward: float
    head_forward: float
    head_backward: float
    decoding: dict[int, float]
    """By the number of rows."""
    head_decoding: dict[int, float]

    def of_pass(self, flops: Flops) -> float:
        """Seconds of a forward pass; attention is taken at the rate of the linear maps, which it does not reach."""
        return flops.body / self.forward + flops.head / self.head_forward

    def of_update(self, flops: Flops) -> float:
        """Seconds of a forward and a backward pass, which multiplies twice as much."""
        return self.of_pass(flops) + 2 * flops.body / self.backward + 2 * flops.head / self.head_backward

    def of_sampling(self, shape: Shape, trees: Sequence[Lengths]) -> float:
        """Seconds of the prompts' pass, and of one pass a token."""
        prompts = forward(shape, [(p, [1]) for p, _ in trees])
        seconds = prompts.body / self.forward + prompts.head / at(self.head_decoding, len(trees))
        for rows, flops in decoding(shape, trees):
            seconds += flops.body / at(self.decoding, rows) + flops.head / at(self.head_decoding, rows)
        return seconds


def at(rate: dict[int, float], rows: int) -> float:
    """The rate at so many rows: of a product's seconds, which are linear between the measured ones."""
    known = sorted(rate)
    if rows >= known[-1]:
        return rate[known[-1]]
    i = bisect_left(known, rows)
    if known[i] == rows or i == 0:
        return rate[known[i]]
    low, high = known[i - 1], known[i]
    share = (rows - low) / (high - low)
    return rows / ((1 - share) * low / rate[low] + share * high / rate[high])


def floor(shape: Shape, rates: Rates, trees: Sequence[Lengths], passes: dict[str, float]) -> dict[str, float]:
    """Seconds of a step by part; `passes` says how often each is made (sampling, reference, update, kl_prev)."""
    flops = forward(shape, trees)
    seconds = {
        "sampling": rates.of_sampling(shape, trees) if passes.get("sampling") else 0.0,
        "reference": rates.of_pass(flops),
        "update": rates.of_update(flops),
        "kl_prev": rates.of_pass(flops),
    }
    return {part: times * seconds[part] for part, times in passes.items()}


# -- measuring ---------------------------------------------------------------------------------------------------------


def measure(model: Any, trees: Sequence[Lengths]) -> Rates:
    """The rates of a model's products on a batch of such trees."""
    head = model.get_output_embeddings()
    body = [m for m in model.base_model.modules() if isinstance(m, torch.nn.Linear)]
    weights, heads = [m.weight.detach() for m in body], [head.weight.detach()]
    read, predicting = places(trees)
    most = sum(len(completions) for _, completions in trees)
    few = sorted({min(most, 1 << i) for i in range(most.bit_length() + 1)})
    return Rates(
        forward=forward_rate(weights, read),
        backward=backward_rate(weights, read),
        head_forward=forward_rate(heads, predicting),
        head_backward=backward_rate(heads, predicting),
        decoding={rows: forward_rate(weights, rows, packed=True) for rows in few},
        head_decoding={rows: forward_rate(heads, rows, packed=True) for rows in few},
    )


Product = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""x weight', of `[rows, in]` and `[out, in]`."""


def products() -> list[Product]:
    """torch's own, and oneDNN's if it is there."""
    found: list[Product] = [torch.nn.functional.linear]
    if torch.backends.mkldnn.is_available():
        operations: Any = torch.ops.mkldnn
        found.append(lambda x, weight: operations._linear_pointwise(x, weight, None, "none", [], ""))
    return found


@torch.no_grad()
def forward_rate(weights: Sequence[torch.Tensor], rows: int, packed: bool = False) -> float:
    """FLOPs a second of x weight', weight after weight; `packed` weights lie in oneDNN's order for few rows."""
    x = {w.shape[1]: torch.randn(rows, w.shape[1]) for w in weights}
    flops = 2 * rows * sum(w.numel() for w in weights)
    kinds = [(product, weights) for product in products()]
    if packed and len(kinds) > 1:
        reorder: Any = torch.ops.mkldnn
        kinds.append((kinds[1][0], [reorder._reorder_linear_weight(w, rows) for w in weights]))

    def run(product: Product, laid: Sequence[torch.Tensor]) -> None:
        for weight, each in zip(weights, laid, strict=True):
            product(x[weight.shape[1]], each)

    return flops / min(seconds(partial(run, *kind)) for kind in kinds)


@torch.no_grad()
def backward_rate(weights: Sequence[torch.Tensor], rows: int) -> float:
    """FLOPs a second of both products of the backward pass: gradient of the input, gradient of the weight."""
    x = {size: torch.randn(rows, size) for w in weights for size in w.shape}
    flops = 4 * rows * sum(w.numel() for w in weights)

    def of_inputs(product: Product) -> None:
        for weight in weights:
            product(x[weight.shape[0]], weight.t())

    def of_weights(product: Product) -> None:
        for weight in weights:
            product(x[weight.shape[0]].t(), x[weight.shape[1]].t())

    best = [min(seconds(partial(run, product)) for product in products()) for run in (of_inputs, of_weights)]
    return flops / sum(best)


def seconds(work: Callable[[], Any]) -> float:
    """Of the fastest of some runs, each as many calls as it takes to be measured."""
    work()
    began = time.process_time()
    work()
    calls = 1 + int(LEAST_SECONDS / max(time.process_time() - began, 1e-6))
    best = float("inf")
    for _ in range(REPEATS):
        began = time.process_time()
        for _ in range(calls):
            work()
        best = min(best, (time.process_time() - began) / calls)
    return best

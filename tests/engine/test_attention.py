from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from overopt.engine.attention import (
    KeyValueStore,
    TreeAttention,
    additive_mask,
    attention_carrier,
    carried_attention,
    shared_heads,
    visibility_mask,
)
from overopt.engine.packing import Tree, pack

TREES = [Tree([5, 6], [[7, 1], [8]]), Tree([9], [[2, 3, 4]])]


def random(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def alone(query: Tensor, key: Tensor, value: Tensor, places: list[int]) -> Tensor:
    """Causal attention among some places, `[L, heads, d]`."""
    parts = (x[:, :, places] for x in (query, key, value))
    return F.scaled_dot_product_attention(*parts, is_causal=True)[0].transpose(0, 1)


def test_who_sees_whom() -> None:
    seen = [row.nonzero()[:, 0].tolist() for row in visibility_mask(torch.tensor([0, 0, 1, 1, 2]))]
    assert seen == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 4]]


def test_additive_mask() -> None:
    mask = additive_mask(torch.tensor([True, False]))
    assert mask[0] == 0 and mask[1] < -1e8 and torch.isfinite(mask[1])
    assert additive_mask(torch.tensor([True]), torch.bfloat16).dtype == torch.bfloat16


def test_heads_are_shared_in_order() -> None:
    assert shared_heads(torch.tensor([[[1.0], [2.0]]])[..., None], 4)[0, :, 0, 0].tolist() == [1, 1, 2, 2]


def test_a_carrier_carries_and_an_ordinary_mask_does_not() -> None:
    attention = pack(TREES).attention
    mask = attention_carrier(attention, torch.device("cpu"))
    assert mask.dim() == 4 and carried_attention(mask) is attention
    assert carried_attention(torch.zeros(1, 1, 2, 2)) is None and carried_attention(None) is None


@pytest.mark.parametrize("shared", [1, 2])
def test_each_branch_is_attention_of_its_own(shared: int) -> None:
    query, key, value = random(1, 2, 9, 4), random(1, 2 // shared, 9, 4, seed=1), random(1, 2 // shared, 9, 4, seed=2)
    out = pack(TREES).attention.attend(0, query, key, value, None)
    assert out.shape == (1, 9, 2, 4)
    key, value = shared_heads(key, 2), shared_heads(value, 2)
    for places in ([0, 1, 2, 3], [0, 1, 4], [5, 6, 7, 8]):
        torch.testing.assert_close(out[0, places], alone(query, key, value, places))


def test_masks_are_made_once_for_all_layers() -> None:
    attention = TreeAttention([2, 1], torch.tensor([0, 1, 0]))
    first = attention.masks(torch.float32)
    assert [m.shape for m in first] == [(2, 2), (1, 1)]
    assert attention.masks(torch.float32) is first
    assert attention.masks(torch.float64)[0].dtype == torch.float64


@pytest.mark.parametrize("shared", [1, 2])
def test_a_store_continues_each_sample_where_it_ended(shared: int) -> None:
    """Two prompts of three and one tokens, two samples each; one sample ends, then a whole group, then nobody.

    Every token's attention is that of its sequence computed alone.
    """
    heads, size, lengths = 2, 4, [3, 1]
    store = KeyValueStore(lengths, group_size=2, width=4, device=torch.device("cpu"))
    sequences: list[list[Tensor]] = [[], [], [], []]  # of query, key and value per sample, token by token

    def tokens(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        shape = (heads, heads // shared, heads // shared)
        return tuple(random(1, h, count, size, seed=seed + i) for i, h in enumerate(shape))  # type: ignore[return-value]

    def expected(sample: int) -> Tensor:
        query, key, value = (torch.cat(parts, 2) for parts in zip(*sequences[sample], strict=True))
        places = list(range(query.shape[2]))
        return alone(query, shared_heads(key, heads), shared_heads(value, heads), places)[-1]

    prompt = tokens(4, seed=10)
    out = store.attend(0, *prompt, None)
    for sample in range(4):
        place = slice(0, 3) if sample < 2 else slice(3, 4)
        sequences[sample].append(tuple(x[:, :, place] for x in prompt))  # type: ignore[arg-type]
        torch.testing.assert_close(out[0, 2 if sample < 2 else 3], expected(sample))
    active = [0, 1, 2, 3]
    for step, keep in enumerate([[0, 1, 2, 3], [0, 2, 3], [1, 2], [0, 1]]):
        if len(keep) < len(active):
            store.retire(torch.tensor(keep))
        active = [active[i] for i in keep]
        store.open()
        drawn = tokens(len(active), seed=100 * step)
        out = store.attend(0, *drawn, None)
        for i, sample in enumerate(active):
            sequences[sample].append(tuple(x[:, :, i : i + 1] for x in drawn))  # type: ignore[arg-type]
            torch.testing.assert_close(out[0, i], expected(sample))
    assert active == [2, 3]
    assert store.groups == 1  # the first prompt's part was dropped

"""On a CPU torch runs flex attention uncompiled, and forward only unless told otherwise: so it is tested here.

Not tested without a GPU: the compiled kernel. The check at load compares it with SDPA, values and gradients.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch
from torch.nn.attention import flex_attention as flex

from overopt.engine import attention_flex
from overopt.engine.attention import TreeAttention, visibility_mask
from overopt.engine.attention_flex import BLOCK, FlexAttention, block_mask

SEGMENTS = [
    [0] * 5 + [1] * 3 + [2] * 4,
    [0] * 200 + [1] * 40 + [2] * 7 + [3] * 90,  # over several blocks
    [0],
    [0] * 10 + [1] * 2,
]
SIZES = [len(s) for s in SEGMENTS]
SEGMENT_N = torch.tensor([s for segments in SEGMENTS for s in segments])
READ = [range(4, 12), range(199, 337), range(1), range(9, 12)]
TREES = TreeAttention(SIZES, SEGMENT_N, READ)


@pytest.fixture(autouse=True)
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(attention_flex, "compiled", lambda: flex.flex_attention)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*flex_attention called without torch.compile.*")
        yield


def inputs(heads: int, shared: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, h, len(SEGMENT_N), 16, generator=generator) for h in (heads, shared, shared)]


def test_the_blocks_cover_what_is_seen_and_little_else() -> None:
    mask = block_mask(SIZES, SEGMENT_N)
    blocks = -(-len(SEGMENT_N) // BLOCK)
    seen = torch.block_diag(*(visibility_mask(torch.tensor(s)) for s in SEGMENTS))
    padded = torch.zeros(blocks * BLOCK, blocks * BLOCK, dtype=torch.bool)
    padded[: len(seen), : len(seen)] = seen
    needed = padded.view(blocks, BLOCK, blocks, BLOCK).any(3).any(1)
    listed = mask.to_dense()[0, 0].bool()
    assert bool((listed | ~needed).all()) and not bool(listed.triu(1).any())
    assert mask.shape == (1, 1, blocks * BLOCK, blocks * BLOCK)


def test_trees_far_apart_share_no_block() -> None:
    mask = block_mask([4 * BLOCK, 4 * BLOCK], torch.zeros(8 * BLOCK, dtype=torch.long))
    half = torch.ones(4, 4).tril()
    assert torch.equal(mask.to_dense()[0, 0].float(), torch.block_diag(half, half))


def test_who_sees_whom() -> None:
    mask = block_mask(SIZES, SEGMENT_N)
    place = torch.arange(len(SEGMENT_N))
    zero = torch.tensor(0)
    seen = mask.mask_mod(zero, zero, place[:, None], place[None, :])
    assert torch.equal(seen, torch.block_diag(*(visibility_mask(torch.tensor(s)) for s in SEGMENTS)).bool())


@pytest.mark.parametrize(("heads", "shared"), [(2, 2), (4, 2)])
def test_it_computes_what_sdpa_computes_tree_by_tree(heads: int, shared: int) -> None:
    query, key, value = inputs(heads, shared)
    ours = FlexAttention(TREES).attend(0, query, key, value, 0.3)
    trees = TREES.attend(0, query, key, value, 0.3)
    assert ours.shape == trees.shape
    torch.testing.assert_close(ours, trees, rtol=0, atol=2e-6)


def test_only_the_places_that_are_read() -> None:
    query, key, value = inputs(4, 2)
    starts = [sum(SIZES[:i]) for i in range(len(SIZES))]
    query = query[:, :, [start + i for start, read in zip(starts, READ, strict=True) for i in read]]
    ours, trees = (a.attend(0, query, key, value, None) for a in (FlexAttention(TREES), TREES))
    assert ours.shape == (1, 8 + 138 + 1 + 3, 4, 16)
    torch.testing.assert_close(ours, trees, rtol=0, atol=2e-6)


def test_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch refuses a backward pass on a CPU though its plain formulas for one are there; here they are asked."""
    monkeypatch.setattr(flex, "_validate_device", lambda *tensors: None)
    found = []
    for attention in (FlexAttention(TREES), TREES):
        leaves = [x.requires_grad_() for x in inputs(4, 2)]
        out = attention.attend(0, *leaves, None)
        (out * torch.sin(torch.arange(out.numel())).view_as(out)).sum().backward()
        found.append([x.grad for x in leaves])
    for ours, trees in zip(*found, strict=True):
        torch.testing.assert_close(ours, trees, rtol=0, atol=1e-5)

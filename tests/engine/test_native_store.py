"""The compiled attention while sampling agrees with torch's, token by token."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from overopt.engine import native
from overopt.engine.attention import KeyValueStore
from overopt.engine.native_store import NativeKeyValueStore

pytestmark = pytest.mark.skipif(native.library() is None, reason="no C compiler here, so torch does this work")

LENGTHS = [3, 1, 7]


def tokens(count: int, heads: int, key_heads: int, size: int, generator: torch.Generator) -> list[Tensor]:
    return [torch.randn(1, h, count, size, generator=generator) for h in (heads, key_heads, key_heads)]


@pytest.mark.parametrize(("heads", "key_heads", "size"), [(2, 2, 8), (6, 2, 6), (3, 1, 5)])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_it_agrees_with_torch_while_samples_end(heads: int, key_heads: int, size: int, scale: float | None) -> None:
    generator = torch.Generator().manual_seed(0)
    stores = [kind(LENGTHS, 2, 5, torch.device("cpu")) for kind in (KeyValueStore, NativeKeyValueStore)]
    prompt = [tokens(sum(LENGTHS), heads, key_heads, size, generator) for _ in range(2)]
    for layer in range(2):
        torch.testing.assert_close(*(store.attend(layer, *prompt[layer], scale) for store in stores))
    for keep in ([0, 1, 2, 3, 4, 5], [0, 2, 3, 5], [0, 1, 2, 3], [3], [0]):
        drawn = [tokens(len(keep), heads, key_heads, size, generator) for _ in range(2)]
        for store in stores:
            store.retire(torch.tensor(keep))
            store.open()
        for layer in range(2):
            ours, theirs = (store.attend(layer, *drawn[layer], scale) for store in stores)
            assert ours.shape == (1, len(keep), heads, size)
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_the_order_in_memory_does_not_matter() -> None:
    """A model hands over views of one product, another tensors of their own, a third bf16."""
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(6, 2, 3, 8, generator=generator)
    views = [x.transpose(0, 1)[None] for x in qkv.unbind(2)]
    prompt = tokens(sum(LENGTHS), 2, 2, 8, generator)
    outs = []
    transposed = [x.transpose(2, 3).contiguous().transpose(2, 3) for x in views]
    for parts in (views, [x.contiguous() for x in views], transposed):
        store = NativeKeyValueStore(LENGTHS, 2, 5, torch.device("cpu"))
        store.attend(0, *prompt, None)
        store.open()
        outs.append(store.attend(0, *parts, None))
    assert torch.equal(outs[0], outs[1]) and torch.equal(outs[0], outs[2])
    half = store.attend(0, *(x.bfloat16() for x in views), None)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), outs[0], atol=0.05, rtol=0.05)

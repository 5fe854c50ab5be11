"""Keys and values of samples being drawn, laid out for the compiled attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from overopt.engine import native
from overopt.engine.attention import causal_prompts


class NativeKeyValueStore:
    """A `KeyValueStore` in fp32 on a CPU: compiled code that reads only what each sample sees and needs no masks."""

    def __init__(self, lengths: Sequence[int], group_size: int, width: int, device: torch.device) -> None:
        self.lengths, self.group, self.width = list(lengths), group_size, max(1, width)
        self.prompt = max(lengths)
        self.length_P = torch.tensor(self.lengths)
        self.slots = torch.arange(len(lengths) * group_size)
        self.stored: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        """For each layer keys and values of the prompts, then of the samples; keys are transposed."""
        self.score = torch.empty(self.prompt + self.width)
        self.step = -1
        library = native.library()
        assert library is not None  # callers check `native.available` first
        self.function = library.decode_attention

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        if self.step < 0:
            self._keep_prompts(key[0].float(), value[0].float())
            return causal_prompts(query, key, value, self.lengths, scale)
        dtype, (heads, _, size) = query.dtype, query.shape[1:]
        query, key, value = (_rows(x) for x in (query, key, value))
        out = torch.empty(len(query), heads, size)
        sizes = (len(query), self.group, heads, key.shape[1], size, self.prompt, self.width, self.step)
        places = (*self.stored[layer], self.slots, self.length_P, out, self.score)
        strided = [part for x in (query, key, value) for part in (x.data_ptr(), x.stride(0), x.stride(1))]
        self.function(*strided, *(x.data_ptr() for x in places), *sizes, size**-0.5 if scale is None else scale)
        return out[None].to(dtype)

    def _keep_prompts(self, key: Tensor, value: Tensor) -> None:
        heads, _, size = key.shape
        prompts, samples = len(self.lengths), len(self.slots)
        keys, values = torch.zeros(prompts, heads, size, self.prompt), torch.zeros(prompts, heads, self.prompt, size)
        for i, (k, v) in enumerate(zip(key.split(self.lengths, 1), value.split(self.lengths, 1), strict=True)):
            keys[i, :, :, : k.shape[1]], values[i, :, : v.shape[1]] = k.transpose(1, 2), v
        own = torch.empty(samples, heads, size, self.width), torch.empty(samples, heads, self.width, size)
        self.stored.append((keys, values, *own))

    def open(self) -> None:
        """Make room for one more token of each sample."""
        self.step += 1

    def retire(self, keep: Tensor) -> None:
        """Keep only some of the active samples."""
        self.slots = self.slots[keep]


def _rows(x: Tensor) -> Tensor:
    """From `[1, heads, A, d]` to fp32 `[A, heads, d]`, contiguous in d."""
    x = x[0].transpose(0, 1).float()
    return x if x.stride(2) == 1 else x.contiguous()

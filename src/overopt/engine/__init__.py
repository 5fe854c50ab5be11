"""The computations that must be fast: packed batches, log-probabilities, sampling, optimization."""

import os

# oneDNN and torch's bridge to it each cache the kernels of a thousand shapes. Texts of all lengths give new shapes at
# every step, so the caches of a small model's run grew to a gigabyte; a step reuses only a few dozen.
for name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
    os.environ.setdefault(name, "64")

"""What must be fast: packing of trees, log-probabilities from the head, sampling, optimization."""

import os

# oneDNN, and torch's bridge to it, each keep what they made for a thousand shapes. Texts of all lengths give a new
# shape at every step, so that a run of a small model came to hold a gigabyte; a step needs a few dozen again.
for name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
    os.environ.setdefault(name, "64")

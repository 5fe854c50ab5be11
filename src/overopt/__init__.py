"""overopt: preference optimization of language models, with over-optimization made visible."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load_run", "train"]


def __getattr__(name: str) -> Any:
    """Load the two entry points on first use, so that `import overopt` costs nothing."""
    if name == "train":
        from overopt.training.train import train

        return train
    if name == "load_run":
        from overopt.records import load_run

        return load_run
    raise AttributeError(f"module 'overopt' has no attribute {name!r}")

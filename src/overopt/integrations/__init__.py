"""Sinks send a run's records to TensorBoard, Trackio or W&B. Each runs in a process of its own and reads the records.

The training process imports no sink library, so a sink that raises, hangs or loses its network costs only a warning.
The same code sends the records of a finished run (`overopt log RUN --sink tensorboard`).
"""

from __future__ import annotations

from overopt.integrations.sinks import Sink

__all__ = ["Sink"]

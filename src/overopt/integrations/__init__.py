"""Sinks: where a run's numbers go besides its own directory. They read its records, and run in processes of their own.

Nothing of them is imported by the process that trains, so a sink that raises, hangs or loses its network costs a
warning and no more. The same code sends the records of a run that is over (`overopt log RUN --sink tensorboard`).
"""

from __future__ import annotations

from overopt.integrations.sinks import Sink

__all__ = ["Sink"]

"""One run being made: its facts, its directory, its checkpoints, and when it stops."""

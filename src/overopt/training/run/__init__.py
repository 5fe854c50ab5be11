"""One run in progress: its parents, its directory, its checkpoints, and when it stops."""

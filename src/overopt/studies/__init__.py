"""Studies: lists of runs with parents as YAML, run by the scheduler, and what is made of their records."""

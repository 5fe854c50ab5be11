"""Studies: YAML files that list runs with their parents, expanded into single runs, scheduled and summarized."""

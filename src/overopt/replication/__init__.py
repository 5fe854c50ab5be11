"""From a study's records alone: the rows of its table, the claims with their verdicts, and the paper's figures."""

"""What must be fast, in pure torch: packing of trees, log-probabilities from the head, sampling, optimization."""

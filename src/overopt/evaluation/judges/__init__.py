"""Judges: gold, a reward model, or a language model; what they are asked, and how their answers are read."""

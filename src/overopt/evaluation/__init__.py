"""Evaluation: greedy completions of a policy on held-out prompts, judged against the references."""

from overopt.evaluation.evaluator import Evaluator
from overopt.evaluation.reevaluation import evaluate_run

__all__ = ["Evaluator", "evaluate_run"]

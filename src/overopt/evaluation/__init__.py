"""Greedy completions of a policy, judged against the references on prompts that no training saw."""

from overopt.evaluation.evaluator import Evaluator
from overopt.evaluation.reevaluation import evaluate_run

__all__ = ["Evaluator", "evaluate_run"]

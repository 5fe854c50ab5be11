"""Judges: gold, a reward model, or a language model; what they are asked, and how their answers are read."""

from overopt.evaluation.judges.base import Comparison, Judgement, JudgeProtocol, Situation, judgements
from overopt.evaluation.judges.choosing import Judge, judge_from, judges_from

__all__ = ["Comparison", "Judge", "JudgeProtocol", "Judgement", "Situation", "judge_from", "judgements", "judges_from"]

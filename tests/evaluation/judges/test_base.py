from overopt.evaluation.judges.base import OUTCOMES, Situation


def test_a_tie_is_half_a_win_and_an_invalid_answer_is_none() -> None:
    assert OUTCOMES == {"ours": 1.0, "tie": 0.5, "reference": 0.0, "invalid": None}


def test_a_situation_needs_nothing() -> None:
    situation = Situation()
    situation.progress(1, 2)
    assert (situation.task, situation.reward_model, situation.prompt_style) == (None, None, "raw")

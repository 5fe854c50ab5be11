from __future__ import annotations

from dataclasses import fields, replace

import torch

from overopt.theory import closed_forms, objectives
from overopt.theory.formulas import Formulas


def test_every_form_is_the_function_of_its_name() -> None:
    formulas = Formulas()
    for field in fields(Formulas):
        owner = closed_forms if hasattr(closed_forms, field.name) else objectives
        assert getattr(formulas, field.name) is getattr(owner, field.name)


def test_one_form_is_replaced_and_the_others_stay() -> None:
    bent = replace(Formulas(), rloo=torch.zeros_like)
    assert bent.rloo(torch.ones(2)).tolist() == [0, 0]
    assert bent.maxent_optimum is closed_forms.maxent_optimum

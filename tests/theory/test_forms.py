from __future__ import annotations

from dataclasses import fields, replace

import torch

from overopt.theory import closed_forms, project
from overopt.theory.forms import Forms


def test_every_form_is_the_function_of_its_name() -> None:
    forms = Forms()
    for field in fields(Forms):
        owner = closed_forms if hasattr(closed_forms, field.name) else project
        assert getattr(forms, field.name) is getattr(owner, field.name)


def test_one_form_is_replaced_and_the_others_stay() -> None:
    bent = replace(Forms(), rloo=torch.zeros_like)
    assert bent.rloo(torch.ones(2)).tolist() == [0, 0]
    assert bent.maxent_optimum is closed_forms.maxent_optimum

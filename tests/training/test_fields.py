from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from overopt.config import Positive
from overopt.training.fields import Count, Keep, Provenance, Seed, Temperature


@pytest.mark.parametrize(
    ("field", "least", "refused"),
    [(Count, 1, 0), (Positive, 1e-9, 0.0), (Temperature, 1e-9, 0.0), (Seed, 0, -1), (Keep, "best", "worst")],
)
def test_a_field_takes_its_least_value_and_refuses_what_lies_below(field: Any, least: Any, refused: Any) -> None:
    adapter = TypeAdapter(field)
    assert adapter.validate_python(least, strict=True) == least
    with pytest.raises(ValidationError):
        adapter.validate_python(refused, strict=True)


def test_provenance_knows_four_sources() -> None:
    assert TypeAdapter(Provenance).validate_python({"lr": "paper"}) == {"lr": "paper"}
    with pytest.raises(ValidationError):
        TypeAdapter(Provenance).validate_python({"lr": "a blog"})

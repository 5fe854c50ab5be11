from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from overopt.config import NonNegative, Positive


@pytest.mark.parametrize(("kind", "good", "bad"), [(Positive, 1e-9, 0.0), (NonNegative, 0.0, -1e-9)])
def test_bounds(kind: Any, good: float, bad: float) -> None:
    assert TypeAdapter(kind).validate_python(good) == good
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(bad)

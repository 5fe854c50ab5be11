from __future__ import annotations

import pytest

from overopt.engine.devices import DEVICES, device_named
from overopt.errors import UserError


def test_every_figure_has_its_source_and_its_order_of_magnitude() -> None:
    for device in DEVICES.values():
        assert "NVIDIA" in device.source
        assert 5 < device.fp32 < device.bf16 < 1000 and 10 < device.memory < 200 < device.bandwidth < 6000


def test_rates_are_per_second() -> None:
    assert device_named("A100").rate(bf16=True) == 312e12
    assert device_named("a100").rate(bf16=False) == 19.5e12


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(UserError, match="--device abacus: .*h100, a100"):
        device_named("abacus")

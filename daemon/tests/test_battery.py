"""The battery: queried seldom; a machine without one is on mains power."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from green_code.battery import FRESH_SECONDS, Battery


@pytest.mark.parametrize(
    ("state", "discharging"),
    [
        (None, False),
        (SimpleNamespace(power_plugged=True), False),
        (SimpleNamespace(power_plugged=None), False),
        (SimpleNamespace(power_plugged=False), True),
    ],
)
def test_the_states_of_the_system(monkeypatch: pytest.MonkeyPatch, state: Any, discharging: bool) -> None:
    monkeypatch.setattr(psutil, "sensors_battery", lambda: state, raising=False)
    assert Battery()() is discharging


def test_the_state_is_reused_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    now, queries = [0.0], []
    monkeypatch.setattr(psutil, "sensors_battery", lambda: queries.append(1), raising=False)
    battery = Battery(lambda: now[0])
    for now[0] in (0.0, FRESH_SECONDS - 0.1, FRESH_SECONDS):
        battery()
    assert len(queries) == 2

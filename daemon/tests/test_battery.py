"""The battery: asked seldom, and a machine without one is on mains."""

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
def test_what_the_system_says(monkeypatch: pytest.MonkeyPatch, state: Any, discharging: bool) -> None:
    monkeypatch.setattr(psutil, "sensors_battery", lambda: state, raising=False)
    assert Battery()() is discharging


def test_the_answer_is_kept_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    now, asked = [0.0], []
    monkeypatch.setattr(psutil, "sensors_battery", lambda: asked.append(1), raising=False)
    battery = Battery(lambda: now[0])
    for now[0] in (0.0, FRESH_SECONDS - 0.1, FRESH_SECONDS):
        battery()
    assert len(asked) == 2

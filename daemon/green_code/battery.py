"""Whether the machine runs on battery; the system is queried at most every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import psutil

FRESH_SECONDS: Final = 5.0


class Battery:
    """A call returns whether the machine runs on battery; False if it has none or the state is unknown."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._queried_at = float("-inf")
        self._discharging = False

    def __call__(self) -> bool:
        """The state, at most 5 s old."""
        if self._clock() - self._queried_at >= FRESH_SECONDS:
            self._queried_at = self._clock()
            self._discharging = _discharging()
        return self._discharging


def _discharging() -> bool:
    query = getattr(psutil, "sensors_battery", None)
    if query is None:
        return False
    try:
        state = query()
    except (OSError, RuntimeError, NotImplementedError):
        return False
    return state is not None and state.power_plugged is False

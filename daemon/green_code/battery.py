"""Whether the machine runs on battery, asked of the system at most every few seconds.

Must not know: what follows from it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import psutil

FRESH_SECONDS: Final = 5.0


class Battery:
    """Calling it says whether the machine runs on battery; False where there is none or nobody knows."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked_at = float("-inf")
        self._discharging = False

    def __call__(self) -> bool:
        """The answer, at most 5 s old."""
        if self._clock() - self._asked_at >= FRESH_SECONDS:
            self._asked_at = self._clock()
            self._discharging = _discharging()
        return self._discharging


def _discharging() -> bool:
    ask = getattr(psutil, "sensors_battery", None)
    if ask is None:
        return False
    try:
        state = ask()
    except (OSError, RuntimeError, NotImplementedError):
        return False
    return state is not None and state.power_plugged is False

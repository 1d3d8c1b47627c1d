"""How often engines in a row have lost their device, and when this one may end for it.

A device is lost where an error occurred within a kernel, or where the card is gone: only another process can use it again. Where it is
lost again and again, each engine waits twice as long as the one before it, and the processor answers meanwhile. The number is kept in a file for
the next engine.
Must not know: torch, or how an engine ends.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from green_code.files import replace_file
from green_code.reading import read_json

log = logging.getLogger(__name__)

RESTART_SECONDS: Final = 10.0
"""From the first loss to the earliest restart."""
LAST_RESTART_SECONDS: Final = 3600.0
"""However often it was lost."""
HELD_SECONDS: Final = 600.0
"""A device that has served for so long before it was lost begins a new row."""
_BOUND: Final = 1000  # of the number that the file may have
_MANY: Final = 3
"""Losses in a row of which users are told."""


class DeviceLosses:
    """
    Args:
        path: of the file. clock: monotonic seconds.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path, self._clock = path, clock
        self._served_at: float | None = None
        self._row_is_over = False  # and the file is gone
        self._in_a_row = 0
        self._wait_seconds = self._restart_at = float("inf")

    def serves(self) -> None:
        """The device has computed something."""
        if self._served_at is None:
            self._served_at = self._clock()
        elif not (self._row_is_over or self._in_a_row) and self._has_held:
            self._row_is_over = True
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)  # for the next engine; this one may end without a loss

    def lost(self) -> None:
        """The device is lost, in this engine for good."""
        if self._in_a_row:
            return
        self._in_a_row = 1 if self._has_held else self._before() + 1
        wait_seconds = min(RESTART_SECONDS * 2.0 ** (self._in_a_row - 1), LAST_RESTART_SECONDS)
        try:
            replace_file(self._path, f"{self._in_a_row}\n")
        except OSError as error:
            log.warning("that the device was lost cannot be kept: %s", error)
            wait_seconds = LAST_RESTART_SECONDS  # the next engine would not know
        self._wait_seconds, self._restart_at = wait_seconds, self._clock() + wait_seconds

    @property
    def restart_is_due(self) -> bool:
        """Whether another engine may try the device."""
        return self._clock() >= self._restart_at

    @property
    def outlook(self) -> str:
        """When the device is tried again, as the end of a sentence."""
        if self._in_a_row < _MANY:
            return "the device is tried again later."
        minutes = max(1, round(self._wait_seconds / 60))
        return (
            f"the device has failed {self._in_a_row} times in a row, and is tried again {minutes} min after its last failure, at the earliest. "
            "To leave it alone, set greenCode.device to cpu."
        )

    @property
    def _has_held(self) -> bool:
        return self._served_at is not None and self._clock() - self._served_at >= HELD_SECONDS

    def _before(self) -> int:
        try:
            return max(0, min(read_json(self._path, int), _BOUND))
        except (OSError, ValueError):
            return 0

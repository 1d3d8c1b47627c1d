"""Logs that no input fills: each statement writes a few records a minute, and a record has a limited length.

Must not know: where a log goes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

RECORDS_AT_MOST: Final = 5
MINUTE_SECONDS: Final = 60.0
CHARACTERS_AT_MOST: Final = 8000
"""Of a record with its traceback."""


@dataclass
class _Minute:
    start: float
    records: int = 0


class Sparing(logging.Filter):
    """Lets each statement write so many records a minute. Its next one afterwards says how many were left out.

    Args:
        clock: monotonic seconds; replaced in tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._minutes: dict[tuple[str, int], _Minute] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now, statement = self._clock(), (record.pathname, record.lineno)
        minute = self._minutes.setdefault(statement, _Minute(now))
        if now - minute.start >= MINUTE_SECONDS:
            if (left_out := minute.records - RECORDS_AT_MOST) > 0:
                record.msg, record.args = f"{record.getMessage()} (and {left_out} more like it before)", ()
            minute = self._minutes[statement] = _Minute(now)
        minute.records += 1
        return minute.records <= RECORDS_AT_MOST


class Cut(logging.Formatter):
    """Leaves the middle of a long record out."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        half = CHARACTERS_AT_MOST // 2
        return text if len(text) <= CHARACTERS_AT_MOST else f"{text[:half]}\n[…]\n{text[-half:]}"


def log_to(handler: logging.Handler, form: str, level: int = logging.INFO) -> None:
    """Make `handler` the process's only one."""
    handler.addFilter(Sparing())
    handler.setFormatter(Cut(form))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.raiseExceptions = False  # a full disk would put a traceback for each record into another file

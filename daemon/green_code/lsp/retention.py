"""Retention: whether an accepted suggestion is still in the document after half a minute.

A suggestion is found again by its line, which moves when lines above it are added or removed. Its text may have moved by
a few lines more.
Must not know: the engine or the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from green_code.lsp.documents import Edit, with_newlines

RETAINED_SECONDS: Final = 30.0
_NEAR_LINES: Final = 3


@dataclass
class _Accepted:
    uri: str
    line: int
    text: str


class RetentionWatch:
    """The accepted suggestions of one window.

    Args:
        lines: the lines of a document; None if it is closed.
        on_retained: called with the id of an accepted suggestion whose text is still there.
    """

    def __init__(self, lines: Callable[[str], Sequence[str] | None], on_retained: Callable[[str], None]) -> None:
        self._lines = lines
        self._on_retained = on_retained
        self._accepted: dict[str, _Accepted] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def accept(self, row_id: str, uri: str, line: int, text: str) -> None:
        """A suggestion was accepted, whole or in part: check it in half a minute. The last text counts.

        Args:
            text: what was accepted, behind the line's beginning, which makes a short text, such as a bracket, recognisable.
        """
        self._accepted[row_id] = _Accepted(uri, line, text.strip())
        if row_id not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[row_id] = loop.call_later(RETAINED_SECONDS, self._check, row_id)

    def follow(self, uri: str, edit: Edit) -> None:
        """Lines of a document were added or removed."""
        for accepted in self._accepted.values():
            if accepted.uri == uri and edit.last < accepted.line:
                accepted.line += edit.added

    def close(self) -> None:
        """The window closes; pending checks are dropped."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._accepted.clear()

    def _check(self, row_id: str) -> None:
        del self._timers[row_id]
        accepted = self._accepted.pop(row_id)
        if (lines := self._lines(accepted.uri)) is None:
            return
        first = max(0, accepted.line - _NEAR_LINES)
        last = accepted.line + accepted.text.count("\n") + _NEAR_LINES + 1
        if accepted.text in with_newlines("".join(lines[first:last])):
            self._on_retained(row_id)

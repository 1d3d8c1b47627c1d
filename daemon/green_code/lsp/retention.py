"""Retention: whether an accepted suggestion is still in the document after half a minute.

A suggestion is found again by its line, which moves when lines above it are added or removed. Its text may have moved by
a few lines more.
Must not know: the engine or the ledger.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from green_code.lsp.documents import Edit, with_newlines

RETAINED_SECONDS: Final = 30.0
REMEMBERED: Final = 64
"""Suggestions that may still be accepted; older ones are off the screen."""
_NEAR_LINES: Final = 3


@dataclass
class _Suggestion:
    uri: str
    line: int
    text: str


class RetentionWatch:
    """The suggestions of one window.

    Args:
        lines: the lines of a document; None if it is closed.
        on_retained: called with the id of an accepted suggestion whose text is still there.
    """

    def __init__(self, lines: Callable[[str], Sequence[str] | None], on_retained: Callable[[str], None]) -> None:
        self._lines = lines
        self._on_retained = on_retained
        self._suggestions: OrderedDict[str, _Suggestion] = OrderedDict()
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def show(self, row_id: str, uri: str, line: int, before: str, text: str) -> None:
        """A suggestion is shown; the last place counts if it is shown twice.

        Args:
            before: the line up to the cursor; it makes a short text, such as a bracket, recognisable.
        """
        self._suggestions[row_id] = _Suggestion(uri, line, (before + text).strip())
        self._suggestions.move_to_end(row_id)
        while len(self._suggestions) > REMEMBERED:
            self._forget(next(iter(self._suggestions)))

    def accept(self, row_id: str) -> None:
        """The user accepted a suggestion: check it in half a minute."""
        if row_id in self._suggestions and row_id not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[row_id] = loop.call_later(RETAINED_SECONDS, self._check, row_id)

    def follow(self, uri: str, edit: Edit) -> None:
        """Lines of a document were added or removed."""
        for suggestion in self._suggestions.values():
            if suggestion.uri == uri and edit.last < suggestion.line:
                suggestion.line += edit.added

    def close(self) -> None:
        """The window closes; pending checks are dropped."""
        for row_id in tuple(self._timers):
            self._forget(row_id)

    def _forget(self, row_id: str) -> None:
        self._suggestions.pop(row_id, None)
        if (timer := self._timers.pop(row_id, None)) is not None:
            timer.cancel()

    def _check(self, row_id: str) -> None:
        suggestion = self._suggestions[row_id]
        self._forget(row_id)
        if (lines := self._lines(suggestion.uri)) is None:
            return
        first = max(0, suggestion.line - _NEAR_LINES)
        last = suggestion.line + suggestion.text.count("\n") + _NEAR_LINES + 1
        if suggestion.text in with_newlines("".join(lines[first:last])):
            self._on_retained(row_id)

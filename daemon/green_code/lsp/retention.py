"""Whether what was accepted is still there half a minute later: the one sign of use that an editor cannot show by itself.

Followed by its line as lines above come and go; the text itself may have moved a little.
Must not know: what becomes of the answer.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from green_code.lsp.documents import Edit

KEPT_SECONDS: Final = 30.0
REMEMBERED: Final = 64
"""Suggestions that may yet be accepted; older ones are off the screen."""
_NEAR_LINES: Final = 3


@dataclass
class _Suggestion:
    uri: str
    line: int
    text: str


class KeptWatch:
    """One window's suggestions, from the moment they are given until it is known whether they stayed.

    Args:
        lines: the lines of a document, None where it is closed.
        kept: told the id of an accepted suggestion whose text is still there.
    """

    def __init__(self, lines: Callable[[str], Sequence[str] | None], kept: Callable[[str], None]) -> None:
        self._lines = lines
        self._kept = kept
        self._given: OrderedDict[str, _Suggestion] = OrderedDict()
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def give(self, row_id: str, uri: str, line: int, before: str, text: str) -> None:
        """A suggestion is shown at a line; one that is shown again stands where it was shown last.

        Args:
            before: the line up to the cursor; with it, a bracket is that bracket and not any.
        """
        self._given[row_id] = _Suggestion(uri, line, (before + text).strip())
        self._given.move_to_end(row_id)
        while len(self._given) > REMEMBERED:
            self._forget(next(iter(self._given)))

    def accept(self, row_id: str) -> None:
        """The user took it: look again in half a minute."""
        if row_id in self._given and row_id not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[row_id] = loop.call_later(KEPT_SECONDS, self._look, row_id)

    def follow(self, uri: str, edit: Edit) -> None:
        """Lines of a document came or went."""
        for suggestion in self._given.values():
            if suggestion.uri == uri and edit.last < suggestion.line:
                suggestion.line += edit.lines - (edit.last - edit.first + 1)

    def close(self) -> None:
        """The window closes: what is not known yet stays unknown."""
        for row_id in tuple(self._timers):
            self._forget(row_id)

    def _forget(self, row_id: str) -> None:
        self._given.pop(row_id, None)
        if (timer := self._timers.pop(row_id, None)) is not None:
            timer.cancel()

    def _look(self, row_id: str) -> None:
        suggestion = self._given[row_id]
        self._forget(row_id)
        if (lines := self._lines(suggestion.uri)) is None:
            return
        first = max(0, suggestion.line - _NEAR_LINES)
        last = suggestion.line + suggestion.text.count("\n") + _NEAR_LINES + 1
        if suggestion.text in "".join(lines[first:last]).replace("\r\n", "\n").replace("\r", "\n"):
            self._kept(row_id)

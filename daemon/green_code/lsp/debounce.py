"""How long to wait before asking the engine: no suggestion is worth computing that the next key overtakes.

Who types so fast that the next key is likely to come before a suggestion could be read gets none in between: the
request waits until that key is overdue, and when it comes, the editor cancels the request at no cost. Who types slower,
or has just begun again, is answered at once.
Must not know: documents, or who waits.
"""

from __future__ import annotations

from collections import deque
from typing import Final

PAUSE_SECONDS: Final = 1.0
"""Without a key: whoever goes on after that begins anew."""
SHORTEST_SECONDS: Final = 0.01
"""Between keys; changes that follow faster are one key's: several cursors, a formatter."""
LONGEST_SECONDS: Final = 0.2
"""After a key; a key that may come later still leaves time to read what is suggested."""
OVERDUE: Final = 1.5
"""A key is overdue after so many times the usual interval: most intervals of steady typing are shorter."""
REMEMBERED: Final = 6
"""Intervals; half of them make a rhythm."""


class Rhythm:
    """The keys of one window. Times are seconds of any one clock."""

    def __init__(self) -> None:
        self._intervals: deque[float] = deque(maxlen=REMEMBERED)
        self._last = float("-inf")

    def key(self, now: float) -> None:
        """Text was changed."""
        interval = now - self._last
        self._last = now
        if interval > PAUSE_SECONDS:
            self._intervals.clear()
        elif interval >= SHORTEST_SECONDS:  # nor does a clock that went back say anything
            self._intervals.append(interval)

    def wait_seconds(self, now: float) -> float:
        """From now on, until the next key is overdue; 0: there is no hurry about it, or it already is."""
        if len(self._intervals) < REMEMBERED // 2:
            return 0.0
        usual = sorted(self._intervals)[len(self._intervals) // 2]
        overdue = OVERDUE * usual
        return max(0.0, self._last + overdue - now) if overdue <= LONGEST_SECONDS else 0.0

"""Debounce: how long an automatic request waits, so that no suggestion is computed that the next key makes stale.

During fast typing a request waits until the next key is overdue. If the key comes, the editor cancels the request, which
has cost nothing. During slow typing, or after a pause, there is no wait.
Must not know: documents or requests.
"""

from __future__ import annotations

from collections import deque
from typing import Final

PAUSE_SECONDS: Final = 1.0
"""After so long without a key, the intervals before it are forgotten."""
SHORTEST_SECONDS: Final = 0.01
"""Changes closer together come from one key: several cursors, or a formatter."""
LONGEST_SECONDS: Final = 0.2
"""Longest wait. Where keys are further apart, there is time to read a suggestion between two of them."""
OVERDUE: Final = 1.5
"""A key is overdue after this multiple of the median interval; in steady typing most intervals are shorter."""
REMEMBERED: Final = 6
"""Intervals in memory; there is no wait before half of them are known."""


class Debounce:
    """The keys of one window. Times are seconds of any one clock."""

    def __init__(self) -> None:
        self._intervals: deque[float] = deque(maxlen=REMEMBERED)
        self._last = float("-inf")
        self.interval = float("inf")
        """Seconds between the last two keys."""

    def key(self, now: float) -> None:
        """The text was changed."""
        interval = now - self._last
        self._last = now
        if interval >= SHORTEST_SECONDS:
            self.interval = interval
        if interval > PAUSE_SECONDS:
            self._intervals.clear()
        elif interval >= SHORTEST_SECONDS:  # also drops the interval of a clock that went back
            self._intervals.append(interval)

    def wait_seconds(self, now: float) -> float:
        """Seconds until the next key is overdue; 0 if it already is, or if typing is slow."""
        if len(self._intervals) < REMEMBERED // 2:
            return 0.0
        overdue = OVERDUE * sorted(self._intervals)[len(self._intervals) // 2]
        return max(0.0, self._last + overdue - now) if overdue <= LONGEST_SECONDS else 0.0

"""Debounce: how long an automatic request waits, so that no suggestion is computed that the next key makes stale.

During fast typing a request waits until the next key is overdue. If the key comes, the editor cancels the request, which
has cost nothing. During slow typing, or after a pause, there is no wait.

A new suggestion that is not sure is held back as well: if it appeared between two fast keys, the next one would remove it at once.
One that is sure mostly agrees with the next key.
Must not know: documents or requests.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Final

PAUSE_SECONDS: Final = 1.0
"""After so long without a key, the intervals before it are forgotten."""
SHORTEST_SECONDS: Final = 0.01
"""Changes closer together come from one key: several cursors, or a formatter."""
LONGEST_SECONDS: Final = 0.2
"""After so long without a key, all is shown. Where keys are mostly further apart, no request waits for them."""
ASKED_SECONDS: Final = 0.15
"""Longest wait of a request after a key; the suggestion needs some time, too."""
FAST_SECONDS: Final = 0.18
"""Where the median interval is shorter, an unsure suggestion is held back. Between slower keys there is time to read it."""
SURE: Final = 0.6
"""A suggestion that is right with this probability is not held back. The next key agrees with 90 % of these,
and with 74 % of others, in replayed typing."""
OVERDUE: Final = 1.5
"""A key is overdue after this multiple of the median interval; in steady typing most intervals are shorter."""
REMEMBERED: Final = 6
"""Intervals in memory; there is no wait before half of them are known."""
SPEED_REMEMBERED: Final = 24
"""Intervals that tell how fast somebody types, also after a pause."""


class Debounce:
    """The keys of one window. Times are seconds of any one clock."""

    def __init__(self) -> None:
        self._intervals: deque[float] = deque(maxlen=REMEMBERED)
        self._speed: deque[float] = deque(maxlen=SPEED_REMEMBERED)
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
            self._speed.append(interval)

    def wait_seconds(self, now: float) -> float:
        """Seconds until the next key is overdue; 0 if it already is, or if typing is slow."""
        overdue = OVERDUE * _median(self._intervals, REMEMBERED // 2)
        return max(0.0, self._last + min(overdue, ASKED_SECONDS) - now) if overdue <= LONGEST_SECONDS else 0.0

    def held_seconds(self, now: float, confidence: float) -> float:
        """Seconds for which a new suggestion is held back that is right with a probability of `confidence`; 0 if typing is slow."""
        if confidence >= SURE or _median(self._speed, REMEMBERED // 2) >= FAST_SECONDS:
            return 0.0
        return max(0.0, self._last + LONGEST_SECONDS - now)


def _median(intervals: Sequence[float], at_least: int) -> float:
    """Infinite where fewer than `at_least` are known."""
    return sorted(intervals)[len(intervals) // 2] if len(intervals) >= at_least else math.inf

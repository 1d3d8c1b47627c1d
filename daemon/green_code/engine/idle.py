"""The idle ladder: when an unused engine drops its caches, releases the model, and ends.

The caller supplies the clock, so that tests need not wait.
Must not know: how caches are dropped, models released or processes ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

Step = Literal["trim", "release", "exit"]

TRIM_SECONDS: Final = 5 * 60.0
RELEASE_SECONDS: Final = 15 * 60.0
EXIT_SECONDS: Final = 60 * 60.0
LEFT_SECONDS: Final = 45.0
"""An engine ends this long after its last peer has disconnected, or after its start if no peer comes, and a model is released this long
after its last user has left. A window that reloads connects again sooner."""
MEASURE_SECONDS: Final = 5.0
"""Time without a request before costs are measured; a piece of it is interrupted by the next request."""
CHECK_SECONDS: Final = 15.0
"""How often the service checks; a step is late by at most this."""

LADDER: Final[tuple[tuple[float, Step], ...]] = (
    (TRIM_SECONDS, "trim"),
    (RELEASE_SECONDS, "release"),
    (EXIT_SECONDS, "exit"),
)


class IdleLadder:
    """Returns each step once per idle period, in order."""

    def __init__(self, clock: Callable[[], float], ladder: tuple[tuple[float, Step], ...] = LADDER) -> None:
        self._clock = clock
        self._ladder = ladder
        self._since = clock()
        self._taken = 0

    def touch(self) -> None:
        """The engine is in use: start again from the first step."""
        self._since = self._clock()
        self._taken = 0

    @property
    def idle_seconds(self) -> float:
        """Seconds since the engine was last in use."""
        return self._clock() - self._since

    def due(self) -> list[Step]:
        """The steps that have come due since the last call."""
        idle_seconds = self.idle_seconds
        steps = []
        while self._taken < len(self._ladder) and idle_seconds >= self._ladder[self._taken][0]:
            steps.append(self._ladder[self._taken][1])
            self._taken += 1
        return steps

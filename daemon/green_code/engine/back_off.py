"""The back-off after a failure: what has failed is left alone for a while, for longer each time it fails again before it is said to have worked.

Of a device that is never said: its waits grow up to the longest while the engine lives, because a card that fails once a day fails for a reason.

Must not know: what fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from green_code.engine.interfaces import EndpointProblem
from green_code.problems import Problem

FIRST_BACK_OFF_SECONDS: Final = 2.0
LAST_BACK_OFF_SECONDS: Final = 60.0


class BackOff:
    """
    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.problem: Problem | None = None
        """Of the last failure, until it can be used again."""
        self._wait_seconds = 0.0  # of that failure
        self._past_seconds = 0.0  # of the one before, while it is not known whether it fails again
        self._retry_at = 0.0

    @property
    def waits(self) -> bool:
        """Whether it must be left alone now."""
        return self.problem is not None and self._clock() < self._retry_at

    def failed(self, problem: Problem) -> None:
        """It failed. A server may ask for a longer wait."""
        before = self._wait_seconds if self.problem is not None else self._past_seconds
        seconds = min(2 * before, LAST_BACK_OFF_SECONDS) if before else FIRST_BACK_OFF_SECONDS
        if isinstance(problem, EndpointProblem):
            seconds = max(seconds, problem.wait_seconds)
        self.problem, self._wait_seconds, self._retry_at = problem, seconds, self._clock() + seconds

    def recovered(self) -> None:
        """It can be used again, but may fail in use: the next wait is still a longer one."""
        if self.problem is not None:
            self.problem, self._past_seconds = None, self._wait_seconds

    def worked(self) -> None:
        """It has been used: the next wait is the first again."""
        self._past_seconds = 0.0

    def retry(self) -> None:
        """It may be tried now, and the wait of its last failure is forgotten."""
        self.problem = None

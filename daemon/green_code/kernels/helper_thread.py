"""The thread in which a team's helper works (team.h): it sleeps, and comes when it is called.

An executor of the standard library does the same, but a call takes it 35 µs more where caches are cold, which is before each pass.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue

_Calls = SimpleQueue[Callable[[], None] | None]


class Helper:
    """Its thread starts when it is first needed, and ends with it. There is never more than one: two would take the same parts."""

    def __init__(self) -> None:
        self._calls: _Calls = SimpleQueue()
        self._started = False
        weakref.finalize(self, self._calls.put, None).atexit = False  # Python ends without it

    def call(self, work: Callable[[], None]) -> bool:
        """Have `work` done, soon; False where no thread is to be had."""
        if not self._started:
            self._started = True  # whatever interrupts the start
            try:
                threading.Thread(
                    target=_serve, args=(self._calls,), name="green-code-kernel", daemon=True
                ).start()
            except RuntimeError:  # too many threads, or Python is ending
                self._started = False
                return False
        self._calls.put(work)
        return True


def _serve(calls: _Calls) -> None:
    while (work := calls.get()) is not None:
        work()
        del work  # what it belongs to may be dropped while this sleeps

"""The kernel's second thread: when it is called, and when one thread works alone (thread_pool.h)."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from queue import SimpleQueue

from green_code.kernels.binding import CThreadPool

_SHORTEST_PAUSE_SECONDS = 0.005  # without a helper, after a stall
_LONGEST_PAUSE_SECONDS = 0.1  # after several stalls in a row
_Calls = SimpleQueue[Callable[[], None] | None]


def usable_cores() -> int:
    """Logical cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class ThreadPool:
    """The calling thread and one helper thread, which starts when it is first needed and ends with this object.

    A standard executor needs 35 µs more per call while caches are cold, which they are before each forward pass.

    Args:
        run_helper: the kernel's function of the same name.
    """

    def __init__(self, run_helper: Callable[[CThreadPool], None]) -> None:
        self.structure, self._run_helper = CThreadPool(), run_helper
        self._calls: _Calls = SimpleQueue()
        self._started = False
        self._pause, self._alone_until = _SHORTEST_PAUSE_SECONDS, 0.0
        weakref.finalize(self, self._calls.put, None).atexit = False  # Python ends without it

    def open(self) -> CThreadPool | None:
        """The kernel's pool, with its helper called; the kernel closes it. None where one thread should work alone."""
        if usable_cores() < 2 or time.monotonic() < self._alone_until:
            return None
        self.structure.helped, self.structure.stalls, self.structure.open = 0, 0, 1
        if not self._call_helper():
            self.structure.open = 0
            return None
        return self.structure

    def back_off(self) -> None:
        """After a call with the helper: if a thread stalled, cores are busy, and the next calls do without the helper."""
        if self.structure.stalls:
            self._alone_until = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
        else:
            self._pause = _SHORTEST_PAUSE_SECONDS

    def _call_helper(self) -> bool:
        """False where no thread can be started."""
        if not self._started:
            self._started = True  # even if the start is interrupted: two helpers would compute the same parts
            try:
                threading.Thread(target=_serve, args=(self._calls,), name="green-code-kernel", daemon=True).start()
            except RuntimeError:  # too many threads, or Python is ending
                self._started = False
                return False
        self._calls.put(self._help)
        return True

    def _help(self) -> None:
        """The helper's part in one call; the kernel returns early when a core is busy."""
        while self.structure.open:
            self._run_helper(self.structure)
            if self.structure.open:
                time.sleep(_SHORTEST_PAUSE_SECONDS)


def _serve(calls: _Calls) -> None:
    while (work := calls.get()) is not None:
        work()
        del work  # so that its owner can be freed while this thread sleeps

"""The kernel's threads: how many share a call, when helpers are called, and when one thread works alone (thread_pool.h)."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from queue import SimpleQueue

import psutil

from green_code.kernels.binding import CThreadPool

MOST_WORKERS = 32  # more share no layer evenly
_SMALL_BATCH = 4  # rows that are bound by memory
_SMALL_BATCH_WORKERS = 2  # they take half to two thirds of the time and about the same processor time
_SHORTEST_PAUSE_SECONDS = 0.005  # without helpers, after a stall
_LONGEST_PAUSE_SECONDS = 0.1  # after several stalls in a row
_Calls = SimpleQueue[Callable[[], None] | None]


def usable_cores() -> int:
    """Logical cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def most_workers() -> int:
    """Threads that compute a prompt: one for each physical core that this process may run on. Takes longer than a layer: the system is
    asked for each core."""
    return min(usable_cores(), psutil.cpu_count(logical=False) or 1, MOST_WORKERS)


def workers_for(rows: int, most: int) -> int:
    """Of `most` threads, those that share a call over so many positions: all where arithmetic takes the time, a few where memory does."""
    return min(most, _SMALL_BATCH_WORKERS) if rows <= _SMALL_BATCH else most


class ThreadPool:
    """The calling thread and its helper threads, each of which starts when it is first needed and ends with this object.

    A standard executor needs 35 µs more per call while caches are cold, which they are before each forward pass.

    Args:
        run_helper: the kernel's function of the same name.
    """

    def __init__(self, run_helper: Callable[[CThreadPool, int], None]) -> None:
        self.structure, self.workers, self._run_helper = CThreadPool(), most_workers(), run_helper
        self._calls: list[_Calls | None] = [None] * (self.workers - 1)
        self._pause, self._alone_until = _SHORTEST_PAUSE_SECONDS, 0.0

    def open(self, rows: int) -> CThreadPool | None:
        """The kernel's pool for a call over so many positions, with its helpers called; the kernel closes it. None where one thread
        should work alone."""
        workers = workers_for(rows, self.workers)
        if workers < 2 or time.monotonic() < self._alone_until:
            return None
        self.structure.helped, self.structure.stalls, self.structure.open = 0, 0, 1
        self.structure.workers = workers
        called = sum(self._call_helper(worker) for worker in range(1, workers))
        if not called:
            self.structure.open = 0
            return None
        return self.structure

    def back_off(self) -> None:
        """After a call with helpers: if a thread stalled, cores are busy, and the next calls do without helpers."""
        if self.structure.stalls:
            self._alone_until = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
        else:
            self._pause = _SHORTEST_PAUSE_SECONDS

    def _call_helper(self, worker: int) -> bool:
        """False where no thread can be started."""
        if (calls := self._calls[worker - 1]) is None:
            # Kept before the start, even if that is interrupted: two threads of one worker would share its scratch.
            calls = self._calls[worker - 1] = SimpleQueue()
            try:
                threading.Thread(target=_serve, args=(calls,), name=f"green-code-kernel-{worker}", daemon=True).start()
            except RuntimeError:  # too many threads, or Python is ending
                self._calls[worker - 1] = None
                return False
            weakref.finalize(self, calls.put, None).atexit = False  # Python ends without it
        calls.put(lambda: self._help(worker))
        return True

    def _help(self, worker: int) -> None:
        """A helper's part in one call; the kernel returns early when a core is busy."""
        while self.structure.open:
            self._run_helper(self.structure, worker)
            if self.structure.open:
                time.sleep(_SHORTEST_PAUSE_SECONDS)


def _serve(calls: _Calls) -> None:
    while (work := calls.get()) is not None:
        work()
        del work  # so that its owner can be freed while this thread sleeps

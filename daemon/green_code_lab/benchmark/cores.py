"""Which cores a benchmark's process computes on."""

from __future__ import annotations

import contextlib
import os
import sys

import psutil

_CORES = os.sched_getaffinity(0) if sys.platform == "linux" else frozenset[int]()


def pin(threads: int | None) -> None:
    """Keep all threads of this process on so many cores, so that no engine computes on more than it was given; None: on all."""
    if sys.platform == "linux":
        cores = sorted(_CORES)[:threads]
        for thread in psutil.Process().threads():
            with contextlib.suppress(ProcessLookupError):  # it has ended since
                os.sched_setaffinity(thread.id, cores)

"""Memory of this machine, or of the container, where it has a limit."""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path

import psutil

_CONTAINER = Path("/sys/fs/cgroup")


def total_memory() -> int:
    """Bytes of memory of the machine or of the container."""
    machine = int(psutil.virtual_memory().total)
    limit = _container("memory.max")
    return machine if limit is None else min(machine, limit)


def available_memory() -> int:
    """Available bytes of memory, of the machine or the container."""
    machine = int(psutil.virtual_memory().available)
    limit, used = _container("memory.max"), _container("memory.current")
    return machine if limit is None or used is None else min(machine, limit - used)


def give_back_memory() -> None:
    """Give freed memory back to the system; glibc would keep tens of megabytes."""
    with contextlib.suppress(OSError, TypeError, AttributeError):  # another system's C library
        ctypes.CDLL(None).malloc_trim(0)


def _container(name: str) -> int | None:
    """A figure of the container; None where there is none, or no limit."""
    try:
        return int((_CONTAINER / name).read_text("ascii"))
    except (OSError, ValueError):
        return None

"""Weights in large pages (2 MB, on most processors), where the system has such: Linux, by transparent huge pages.

A token reads all weights in a stream. In pages of 4 kB the processor must look up where the next one lies after every 64 lines, and
what it fetches by itself stops there.
"""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import numpy as np
import psutil

_SWITCHES = Path("/sys/kernel/mm/transparent_hugepage")
_CONTAINER = Path("/sys/fs/cgroup")
_ROOM = 2  # a copy is made where so many would fit


def in_large_pages(array: np.ndarray, rows: int) -> np.ndarray:
    """The first rows of an array. Where that is mapped from a file, from its first row on, they are a copy for which the
    system was asked for large pages; the mapping itself where it gives none, and where memory is scarce: what is mapped
    can be dropped.

    A copy is read past the mapping, so that none of it counts as the process' twice.

    Raises:
        ValueError: the file is shorter than the mapping.
    """
    wanted = array[:rows]
    if not isinstance(array, np.memmap) or (room := _empty(wanted.nbytes)) is None:
        return wanted
    assert array.filename is not None
    with Path(array.filename).open("rb") as file:
        file.seek(array.offset)
        if file.readinto(room.data) < wanted.nbytes:
            raise ValueError(f"{array.filename} was cut off")
    copy: np.ndarray = room.view(array.dtype).reshape(wanted.shape)
    return copy


def _empty(size: int) -> np.ndarray | None:
    """(size,) bytes of zeros, for which the system was asked for large pages; None where it gives none, where one is more
    than that, and where memory is scarce."""
    if sys.platform != "linux":
        return None
    page = _page()
    if page is None or page > size or _ROOM * size > _available():
        return None
    try:
        room = mmap.mmap(-1, size + page, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        room.madvise(mmap.MADV_HUGEPAGE)
    except OSError:
        return None
    whole = np.frombuffer(room, np.uint8)
    start = -whole.ctypes.data % page
    return whole[start : start + size]


def _page() -> int | None:
    """Bytes of a large page; None where there are none on request."""
    try:
        if "[never]" in (_SWITCHES / "enabled").read_text("ascii"):
            return None
        return int((_SWITCHES / "hpage_pmd_size").read_text("ascii"))
    except (OSError, ValueError):
        return None


def _available() -> int:
    """Bytes of memory that may be had, of the machine's and of the container's."""
    machine = int(psutil.virtual_memory().available)
    try:
        limit, used = (
            int((_CONTAINER / name).read_text("ascii")) for name in ("memory.max", "memory.current")
        )
    except (OSError, ValueError):  # no container, or one without a limit
        return machine
    return min(machine, limit - used)

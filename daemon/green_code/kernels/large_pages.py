"""Weights in large pages (2 MB on most processors), where the system has them: transparent huge pages on Linux.

A token reads all weights as one stream. With pages of 4 kB every 64th cache line needs an address translation, and the hardware
prefetcher stops at the page's end.
"""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import numpy as np

from green_code.memory import available_memory

_SWITCHES = Path("/sys/kernel/mm/transparent_hugepage")
_ROOM = 2  # a copy is made where this many would fit


def in_large_pages(array: np.ndarray, rows: int) -> np.ndarray:
    """The first rows of an array. If it is mapped from the beginning of a file, they are a copy in large pages. The mapping itself
    is returned where the system has no large pages, and where memory is scarce: the system can drop mapped pages.

    The copy is read from the file and not through the mapping, so that the process does not hold the rows twice.

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
    """(size,) bytes of zeros in large pages; None where the system has none, where one is larger than `size`, and where memory is
    scarce."""
    if sys.platform != "linux":
        return None
    page = _page()
    if page is None or page > size or _ROOM * size > available_memory():
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
    """Bytes of a large page; None where a process cannot request them."""
    try:
        if "[never]" in (_SWITCHES / "enabled").read_text("ascii"):
            return None
        return int((_SWITCHES / "hpage_pmd_size").read_text("ascii"))
    except (OSError, ValueError):
        return None

"""Weights in pages of 2 MB, where the system has such (Linux: transparent huge pages).

A token reads all weights in a stream. In pages of 4 kB the processor must look up where the next one lies after every 64 lines, and
what it fetches by itself stops there.
"""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import numpy as np
import psutil

_PAGE = 1 << 21
_SWITCH = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_ROOM = 2  # a copy is made where so many would fit


def in_large_pages(array: np.ndarray) -> np.ndarray:
    """A copy of what is mapped from a file, for which the system was asked for large pages; `array` itself where it is not
    mapped, where there are none, and where memory is scarce: mapped pages can be dropped.

    It is read past the mapping, so that no page of it is in memory twice.

    Raises:
        ValueError: the file is shorter than the mapping.
    """
    if not isinstance(array, np.memmap) or (room := empty_in_large_pages(array.nbytes)) is None:
        return array
    assert array.filename is not None
    with Path(array.filename).open("rb") as file:
        file.seek(array.offset)
        if file.readinto(room.data) < array.nbytes:
            raise ValueError(f"{array.filename} was cut off")
    copy: np.ndarray = room.view(array.dtype).reshape(array.shape)
    return copy


def empty_in_large_pages(size: int) -> np.ndarray | None:
    """(size,) bytes of zeros, for which the system was asked for large pages; None where it gives none, or memory is scarce."""
    if sys.platform != "linux" or not _offered() or psutil.virtual_memory().available < _ROOM * size:
        return None
    room = mmap.mmap(-1, size + _PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    room.madvise(mmap.MADV_HUGEPAGE)
    whole = np.frombuffer(room, np.uint8)
    start = -whole.ctypes.data % _PAGE
    return whole[start : start + size]


def _offered() -> bool:
    try:
        return "[never]" not in _SWITCH.read_text("ascii")
    except OSError:
        return False

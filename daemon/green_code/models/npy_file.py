"""A `.npy` file that is written a few rows at a time, and one that is mapped into memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class Rows(Protocol):
    """An array that is written and read a few rows at a time: one in memory, or an `NpyFile`."""

    def __getitem__(self, rows: slice) -> np.ndarray: ...
    def __setitem__(self, rows: slice, values: np.ndarray) -> None: ...


def mapped(path: Path) -> np.ndarray:
    """The array of a file, of which pages are read when they are needed.

    Raises:
        OSError, ValueError: it is missing, or damaged.
    """
    try:
        return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]
    except EOFError as error:  # it is empty
        raise ValueError(str(error)) from error


class NpyFile:
    """Rows go through the file and not through a mapping: so they do not count as this process' memory, and a full disk is an
    OSError and not a signal. Rows that were not written are zero.

    Raises:
        OSError: the file cannot be written, or the disk has no room for all of it.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: Any) -> None:
        self._file = path.open("w+b")
        self._dtype, self._shape = np.dtype(dtype), shape
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        self._first = self._file.tell()
        self._row_bytes = self._dtype.itemsize * int(np.prod(shape[1:]))
        end = self._first + self._row_bytes * shape[0]
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._file.fileno(), 0, end)
        else:
            self._file.truncate(end)

    def __setitem__(self, rows: slice, values: np.ndarray) -> None:
        self._seek(rows)
        self._file.write(np.ascontiguousarray(values, self._dtype).data.cast("B"))

    def __getitem__(self, rows: slice) -> np.ndarray:
        count = self._seek(rows)
        data = self._file.read(count * self._row_bytes)
        return np.frombuffer(data, self._dtype).reshape(count, *self._shape[1:])

    def _seek(self, rows: slice) -> int:
        """To the first of the rows; returns how many there are."""
        start, stop, _ = rows.indices(self._shape[0])
        self._file.seek(self._first + start * self._row_bytes)
        return max(0, stop - start)

    def close(self) -> None:
        """The rows are on the disk when this returns."""
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())

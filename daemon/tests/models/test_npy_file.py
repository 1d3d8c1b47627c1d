"""Rows that are written in any order are the array that NumPy reads; a full disk is an error."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from green_code.models.npy_file import NpyFile


@pytest.mark.parametrize("shape", [(11,), (11, 7)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_numpy_reads_what_was_written(shape: tuple[int, ...], dtype: type, tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    file = NpyFile(tmp_path / "a.npy", shape, dtype)
    file[6:9] = array[6:9]
    file[0:3] = array[0:3]
    assert np.array_equal(file[6:8], array[6:8])
    assert not file[3:6].any(), "what was not written is zero"
    file[3:6] = array[3:6]
    file[9:11] = array[9:]
    assert np.array_equal(file[:], array)
    file.close()
    for mode in (None, "r"):
        read = np.load(tmp_path / "a.npy", mmap_mode=mode)
        assert read.dtype == dtype and np.array_equal(read, array)
    assert read.ctypes.data % 64 == 0, "records are read in whole cache lines"


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot reserve room")
def test_a_full_disk_is_an_error_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        NpyFile(tmp_path / "a.npy", (5, 5), np.uint8)

"""Weights in large pages are the file's, and nothing is copied in vain."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from green_code.kernels import large_pages
from green_code.kernels.large_pages import in_large_pages

ROWS = np.arange(3 * 4224, dtype=np.uint8).reshape(3, 4224)


@pytest.fixture
def mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.memmap:
    monkeypatch.setattr(large_pages, "_SWITCH", tmp_path / "enabled")
    offer(tmp_path, "always [madvise] never")
    np.save(tmp_path / "rows.npy", ROWS)
    array = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert isinstance(array, np.memmap)
    return array


def offer(folder: Path, switch: str) -> None:
    (folder / "enabled").write_text(switch)


needs_linux = pytest.mark.skipif("sys.platform != 'linux'", reason="only Linux gives large pages on request")


@needs_linux
@pytest.mark.parametrize("rows", [2, 3])
def test_what_is_mapped_is_copied_to_where_a_large_page_begins(mapped: np.memmap, rows: int) -> None:
    copy = in_large_pages(mapped[:rows])
    assert not np.shares_memory(copy, mapped)
    assert np.array_equal(copy, ROWS[:rows])
    assert copy.ctypes.data % 2**21 == 0


def test_what_is_in_memory_already_is_left_there() -> None:
    assert in_large_pages(ROWS) is ROWS


def test_without_large_pages_the_mapping_serves(mapped: np.memmap, tmp_path: Path) -> None:
    offer(tmp_path, "always madvise [never]")
    assert in_large_pages(mapped) is mapped
    (tmp_path / "enabled").unlink()
    assert in_large_pages(mapped) is mapped


def test_where_memory_is_scarce_the_mapping_serves(
    mapped: np.memmap, monkeypatch: pytest.MonkeyPatch
) -> None:
    scarce = SimpleNamespace(available=mapped.nbytes)
    monkeypatch.setattr(large_pages.psutil, "virtual_memory", lambda: scarce)
    assert in_large_pages(mapped) is mapped


@needs_linux
def test_a_file_that_was_cut_off_meanwhile_is_refused(mapped: np.memmap, tmp_path: Path) -> None:
    with (tmp_path / "rows.npy").open("r+b") as file:
        file.truncate(ROWS.nbytes)
    with pytest.raises(ValueError, match="cut off"):
        in_large_pages(mapped)

"""Weights in large pages are those of the file, and are copied only where that helps."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from green_code import memory
from green_code.kernels import large_pages
from green_code.kernels.large_pages import in_large_pages

PAGE = 2**16
ROWS = np.arange(3 * 2 * PAGE, dtype=np.uint32).astype(np.uint8).reshape(3, 2 * PAGE)


@pytest.fixture
def mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.memmap:
    """On a system that has large pages and memory."""
    monkeypatch.setattr(large_pages, "_SWITCHES", tmp_path)
    monkeypatch.setattr(memory, "_CONTAINER", tmp_path)
    write(tmp_path, "enabled", "always [madvise] never\n")
    write(tmp_path, "hpage_pmd_size", f"{PAGE}\n")
    write(tmp_path, "memory.max", "max\n")
    np.save(tmp_path / "rows.npy", ROWS)
    array = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert isinstance(array, np.memmap)
    return array


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)


def is_mapped(array: np.memmap, rows: int = 3) -> bool:
    given = in_large_pages(array, rows)
    assert np.array_equal(given, ROWS[:rows])
    return np.shares_memory(given, array)


needs_large_pages = pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="only Linux gives large pages on request"
)


@needs_large_pages
@pytest.mark.parametrize("rows", [2, 3])
def test_a_mapped_array_is_copied_to_a_large_page_boundary(mapped: np.memmap, rows: int) -> None:
    assert not is_mapped(mapped, rows)
    assert in_large_pages(mapped, rows).ctypes.data % PAGE == 0


def test_an_array_in_memory_is_not_copied() -> None:
    assert np.shares_memory(in_large_pages(ROWS, 2), ROWS)


@pytest.mark.parametrize(
    "name, text",
    [
        ("enabled", "always madvise [never]\n"),
        ("enabled", None),
        ("hpage_pmd_size", f"{ROWS.nbytes + 1}\n"),  # half a gigabyte, on some
    ],
)
def test_without_large_pages_the_mapping_is_returned(
    mapped: np.memmap, tmp_path: Path, name: str, text: str | None
) -> None:
    (tmp_path / name).unlink() if text is None else write(tmp_path, name, text)
    assert is_mapped(mapped)


def test_with_scarce_memory_the_mapping_is_returned(
    mapped: np.memmap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "memory.max", str(5 * ROWS.nbytes))
    write(tmp_path, "memory.current", str(4 * ROWS.nbytes))
    assert is_mapped(mapped)
    write(tmp_path, "memory.max", "max")
    scarce = SimpleNamespace(available=ROWS.nbytes)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: scarce)
    assert is_mapped(mapped)


def test_without_memory_the_mapping_is_returned(mapped: np.memmap, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOMEM, "no")

    monkeypatch.setattr(large_pages, "mmap", SimpleNamespace(mmap=refuse, MAP_PRIVATE=0, MAP_ANONYMOUS=0))
    assert is_mapped(mapped)


@needs_large_pages
def test_a_truncated_file_is_refused(mapped: np.memmap, tmp_path: Path) -> None:
    with (tmp_path / "rows.npy").open("r+b") as file:
        file.truncate(ROWS.nbytes)
    with pytest.raises(ValueError, match="cut off"):
        in_large_pages(mapped, 3)

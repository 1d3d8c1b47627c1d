"""An exclusive lock on a file, which a process holds while it lives; the system frees it when the process ends.

The file is never removed: otherwise two processes could lock two different files of one name.
Must not know: what is locked.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

from green_code.reading import read_json

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_LOCKED_BYTE = 1 << 30
"""Windows locks are mandatory: a byte beyond the text is locked, so that others can read the text."""

_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)


class ProcessLock:
    """Non-blocking and not reentrant. The file's note names the holder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this process has it."""
        return self._descriptor is not None

    def acquire(self, note: dict[str, Any]) -> bool:
        """Take the lock and write `note` into the file, or return False at once if another process holds it.

        Raises:
            OSError: the file cannot be opened, or its file system has no locks.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if sys.platform == "win32":
                os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                os.lseek(descriptor, 0, os.SEEK_SET)
            else:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno in _HELD:
                return False
            raise
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(note).encode())
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Free the lock, if it is held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def read_note(path: Path) -> dict[str, Any] | None:
    """The note of the last holder, alive or not; None if it cannot be read."""
    try:
        return read_json(path, dict[str, Any])
    except (OSError, ValueError):
        return None

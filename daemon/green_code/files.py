"""Files that are written whole or not at all, also where the power fails: a name never stands for half of one.

Must not know: what is in them.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A file of the user's alone to write; at the end it takes the place of an older one. It keeps line ends as they are written.

    Raises:
        OSError: it cannot be written. After this or any other exception the older one is still there.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            yield file
        sync(part)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync(path.parent)


def replace_file(path: Path, content: str) -> None:
    """`replacing`, where the whole content is at hand. Raises OSError."""
    with replacing(path) as file:
        file.write(content)


def sync(path: Path) -> None:
    """Returns when a file, or the names in a folder, are on the disk."""
    if sys.platform == "win32" and path.is_dir():
        return  # it has no such call
    descriptor = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Returns when a folder and the files in it are on the disk."""
    for path in folder.iterdir():
        if path.is_file():
            sync(path)
    sync(folder)

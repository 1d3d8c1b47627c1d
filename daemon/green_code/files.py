"""Files that are written whole or not at all, also where the power fails: a name never stands for half of one.

Must not know: what is in them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def replace_file(path: Path, content: str) -> None:
    """Write a file of the user's alone, in place of an older one.

    Raises:
        OSError: it cannot be written; the older one is still there.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
        sync(part)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync(path.parent)


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

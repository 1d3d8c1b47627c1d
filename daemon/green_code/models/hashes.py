"""SHA-256 of a file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

BLOCK = 1 << 20  # bytes that are read as one


def sha256_of(path: Path, report: Callable[[int], None] = lambda _: None) -> str:
    """SHA-256 of a file, hexadecimal. `report` gets the bytes that were read so far."""
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            done += len(block)
            report(done)
    return digest.hexdigest()

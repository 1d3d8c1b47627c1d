"""Hashes of a folder's files, block by block, so that damage is noticed without reading all of them.

They are against accidents: who can write to the folder can write other hashes, too.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

HASHES: Final = "hashes.json"
BLOCK_BYTES: Final = 1 << 18
SMALL_BYTES: Final = 1 << 24
"""Smaller files are read whole."""
SAMPLED_BLOCKS: Final = 96
"""Of larger ones, 24 MiB in all: half a folder's blocks cannot be wrong without one of these being among them."""


def write_hashes(folder: Path) -> None:
    """Write `HASHES` of all other files in a folder. Raises OSError."""
    described = {
        path.name: {"size": path.stat().st_size, "blocks": list(_hashes(path))} for path in sorted(folder.iterdir())
    }
    (folder / HASHES).write_text(json.dumps(described), "utf-8")


def check_hashes(folder: Path, sampled_blocks: int | None = SAMPLED_BLOCKS) -> None:
    """Compare a folder's files with their hashes: all names and sizes, small files, and random blocks of large ones.

    Args:
        sampled_blocks: None: every block.
    Raises:
        ValueError: a file is missing, new or changed; OSError: one cannot be read; other exceptions: the hashes are damaged.
    """
    described: dict[str, dict[str, Any]] = json.loads((folder / HASHES).read_text("utf-8"))
    present = {path.name for path in folder.iterdir()} - {HASHES}
    if different := present ^ described.keys():
        raise ValueError(f"{min(different)} is missing or unknown")
    large: list[tuple[str, int]] = []
    for name, file in described.items():
        if (size := (folder / name).stat().st_size) != file["size"]:
            raise ValueError(f"{name} has {size} bytes, not {file['size']}")
        if size < SMALL_BYTES or sampled_blocks is None:
            if list(_hashes(folder / name)) != file["blocks"]:
                raise ValueError(f"{name} is changed")
        else:
            large += [(name, number) for number in range(len(file["blocks"]))]
    for name, number in random.sample(large, min(sampled_blocks or 0, len(large))):
        with (folder / name).open("rb") as opened:
            opened.seek(number * BLOCK_BYTES)
            if _hash(opened.read(BLOCK_BYTES)) != described[name]["blocks"][number]:
                raise ValueError(f"{name} is changed in block {number}")


def _hashes(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield _hash(block)


def _hash(block: bytes) -> str:
    return hashlib.blake2b(block, digest_size=8).hexdigest()

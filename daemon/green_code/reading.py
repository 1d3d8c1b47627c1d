"""Files that others wrote: read whole, and checked against a type in one place. What is wrong with one is said in a sentence.

A type gives fields, their types and their ranges (`Annotated[int, Meta(ge=1)]`); its `__post_init__` compares them with each
other. Numbers are finite: JSON has no others, and one that is too large for a float is refused.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from green_code.problems import refusing

Content = TypeVar("Content")
Share = Annotated[float, Meta(ge=0, le=1)]
Amount = Annotated[float, Meta(ge=0)]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
"""A SHA-256, hexadecimal."""
MOST_JSON_BYTES = 1 << 24


def read_json(path: Path, kind: type[Content], most_bytes: int = MOST_JSON_BYTES) -> Content:
    """The content of a JSON file, checked.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such file; the message names the field, and leaves the file's name to the caller.
    """
    return decode(read_bytes(path, most_bytes), kind)


def decode(content: bytes, kind: type[Content]) -> Content:
    """JSON, checked. Raises ValueError: see `read_json`."""
    with refusing(ValueError):
        return msgspec.json.decode(content, type=kind)


def read_bytes(path: Path, most_bytes: int = MOST_JSON_BYTES) -> bytes:
    """
    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file (reading another could wait for ever), or it is larger.
    """
    check_regular(path)
    with path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"it has more than {most_bytes:,} bytes")
    return content


def check_regular(path: Path) -> None:
    """Raises ValueError where a path leads to a pipe, a device or a folder, and OSError where it leads nowhere."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is no regular file")

"""Whether this machine has room for a model: memory and disk that its conversion and its service take, from its configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from green_code.memory import available_memory, total_memory
from green_code.models.backend import Sizes
from green_code.models.config import ModelConfig
from green_code.models.places import size_text
from green_code.models.rows import ROWS
from green_code.models.shapes import weight_shapes
from green_code.problems import too_large

_PROGRAM_BYTES = 200_000_000  # Python, packages, the tokenizer
_POSITIONS = 1024  # of a usual prompt, in the cache
_CACHE_BYTES = 2  # of a number in a key or a value; 1.1 in the kernel, 2 to 4 in torch
_DESCRIPTION_BYTES = 40_000_000  # the tokenizer, at most, and the vectors
_LARGEST = 1.3  # a conversion holds the largest weight in float32, and what is made of it


@dataclass(frozen=True)
class Room:
    """Bytes that a model takes: its converted weights on the disk, the engine that serves them, the process that converts it."""

    disk_bytes: int
    memory_bytes: int
    conversion_bytes: int


def room_for(config: ModelConfig, sizes: Sizes) -> Room:
    """The room for a configuration in a format (`WeightFormat.sizes`)."""
    cache = config.layers * 2 * config.kv_heads * config.head_width * _CACHE_BYTES + 4 * config.width
    largest = 4 * max(map(prod, weight_shapes(config).values()))
    return Room(
        sizes.disk + _DESCRIPTION_BYTES,
        sizes.memory + cache * _POSITIONS + _PROGRAM_BYTES,
        int(_LARGEST * largest) + _PROGRAM_BYTES,
    )


def why_no_memory(room: Room) -> str | None:
    """Why the model cannot be converted or served here, as the beginning of a sentence; None: it can."""
    if room.memory_bytes > (total := total_memory()):
        return f"it needs {size_text(room.memory_bytes)} of memory, and this machine has {size_text(total)}"
    if room.conversion_bytes > (free := available_memory()):
        return f"its conversion needs {size_text(room.conversion_bytes)} of memory, and {size_text(free)} are free"
    return None


def check_memory(name: str, room: Room, sizes_of: Callable[[ModelConfig], Sizes]) -> None:
    """
    Args:
        sizes_of: of other models in the same format, for one that fits.
    Raises:
        Problem: the model does not fit; the sentence names the largest of the catalog that would.
    """
    if (why := why_no_memory(room)) is None:
        return
    smaller = (
        row
        for row in sorted(ROWS.values(), key=lambda row: -row.parameters)
        if why_no_memory(room_for(row.shape.config(), sizes_of(row.shape.config()))) is None
    )
    best = next(smaller, None)
    raise too_large(name, why, "" if best is None else f"{best.name} would fit")

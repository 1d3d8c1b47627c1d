"""What of a model a GPU has room for: weights of 8 bits, of 4, or these with a shorter window.

Asked before anything is loaded. While a model serves, the decoder asks again before a cache grows (gpu/buffers.py).
Must not know: torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from green_code.models.adapters import Adapters
from green_code.models.backend import WeightFormat
from green_code.models.config import ModelConfig

POSITIONS: Final = (4096, 1024)
"""Of a cache, the prompt and what is written: what is wanted, and what would do."""
_CACHES = 2  # of documents between which somebody changes
_KEPT_BYTES = 2  # of a number in a key or a value
_OVERHEAD_BYTES = 600_000_000  # the context, compiled kernels, what layers hand to one another


@dataclass(frozen=True)
class Fit:
    """The formats to open a model with, best first; the positions that its caches may have, None: as many as the model has; and what
    users are told of it, empty where nothing is less than usual."""

    formats: Iterable[WeightFormat]
    positions: int | None = None
    notice: str = ""


def fit(config: ModelConfig, formats: Iterable[WeightFormat], free: int | None) -> Fit:
    """
    Args:
        formats: those of the device, best first. free: bytes of the device that may be taken; None: unknown.
    Raises:
        MemoryError: there is no room for the model.
    """
    kinds = list(formats)
    if free is None:
        return Fit(kinds)
    position = 4 * config.width + 2 * _KEPT_BYTES * config.layers * config.kv_heads * config.head_width
    needed = 0
    for wanted in POSITIONS:
        positions = min(wanted, config.max_positions)
        for at, kind in enumerate(kinds):
            needed = kind.sizes(config, Adapters()).disk + _CACHES * positions * position + _OVERHEAD_BYTES
            if needed <= free:
                return Fit(kinds[at:], positions, _notice(at, positions, config))
    raise MemoryError(f"the model needs {needed / 1e9:.1f} GB, and {max(0, free) / 1e9:.1f} GB of the card may be used")


def _notice(step: int, positions: int, config: ModelConfig) -> str:
    less = ["weights have fewer bits"] if step else []
    if positions < min(POSITIONS[0], config.max_positions):
        less.append(f"prompts have at most {positions // 2} tokens")
    return f"the card has little free memory: {' and '.join(less)}" if less else ""

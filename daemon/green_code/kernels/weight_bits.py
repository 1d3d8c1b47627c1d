"""How many bits the weights of a model's layers get: 8, or 4 where that costs little quality or 8 would be too slow."""

from __future__ import annotations

import math
from typing import Final

from green_code.models.config import ModelConfig
from green_code.models.rows import ROWS
from green_code.models.shapes import weight_shapes

MOST_LOST: Final = 0.005
"""Of the share of code tokens that a model predicts: so much may be lost for weights of 4 bits."""
_LARGE = 2_000_000_000
"""Weights in layers from which on a model that was not measured gets 4 bits: in 8 bits it would read 2 GB a token, which takes a fifth
of a second, and the larger a model is, the less it loses."""


def bits_for(config: ModelConfig) -> int:
    """8 or 4, by what the catalog's models of this shape were measured to lose, otherwise by size."""
    lost = [row.int4 for row in ROWS.values() if row.int4 is not None and row.shape.is_of(config)]
    if lost:
        return 4 if max(lost) <= MOST_LOST else 8
    layers = (shape for name, shape in weight_shapes(config).items() if name.startswith("layers."))
    return 4 if sum(map(math.prod, layers)) >= _LARGE else 8

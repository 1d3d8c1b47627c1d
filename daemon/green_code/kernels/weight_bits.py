"""How many bits a model's weights get: those of layers 8, or 4 where that costs little quality or 8 would be too slow; those of a head
8, or 4 where they only preview its logits."""

from __future__ import annotations

import math
from typing import Final

from green_code.kernels.padding import Padding
from green_code.kernels.quantise import matrix_bytes
from green_code.models.backend import CANDIDATES
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


def candidate_bytes(config: ModelConfig) -> int:
    """Bytes of the head's rows, in bfloat16, that a top token reads at most to have its candidates' logits exact."""
    return 2 * CANDIDATES * Padding(config).width


def head_bits(config: ModelConfig) -> int:
    """8, or 4 where a preview in 4 bits with the candidates' rows is fewer bytes than the head in 8. Of a head without SVD."""
    whole, preview = (matrix_bytes(config.vocabulary, Padding(config).width, bits) for bits in (8, 4))
    return 4 if preview + candidate_bytes(config) < whole else 8

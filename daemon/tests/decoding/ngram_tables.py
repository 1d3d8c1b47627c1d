"""N-gram tables made of given continuations."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from green_code.decoding.ngram_table import slot_and_check

Continuations = Mapping[tuple[int, ...], tuple[int, float]]
"""N-gram → the token that follows it, and its share."""


def columns(continuations: Continuations, slots: int = 10_007) -> dict[str, np.ndarray]:
    """The columns of an n-gram table; of two n-grams with one slot, the later one is in it."""
    kinds = (("checks", np.uint16), ("tokens", np.uint16), ("chances", np.uint8))
    made = {name: np.zeros(slots, kind) for name, kind in kinds}
    for ngram, (token, share) in continuations.items():
        slot, check = slot_and_check(ngram, slots)
        for name, value in zip(made, (check, token, round(share * 255)), strict=True):
            made[name][slot] = value
    return made

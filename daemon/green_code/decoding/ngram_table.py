"""The n-gram table of a bundle: which token usually follows the last one to three, counted over the training corpus.

A direct-mapped table. The last N tokens, hashed, give one slot. It holds the continuation of one n-gram, how often that
follows, and 16 more bits of the hash, by which the n-gram is recognised. Of n-grams with the same slot the more useful one is
in the table (the lab's corpus/ngrams.py chooses). A false match, about one in 65,536, gives a wrong draft and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from green_code.models.tensor_files import INTEGERS, read_tensors, tensor_of

LENGTHS = (3, 2, 1)  # of n-grams, the longest first
_MASK = (1 << 64) - 1


def slot_and_check(run: Sequence[Any], slots: int) -> tuple[Any, Any]:
    """Slot and check bits of token ids, or of arrays of them (uint64): FNV-1a, then a mix of the upper bits."""
    state: Any = run[0] * 0 + (0xCBF29CE484222325 + len(run))
    for token in run:
        state = ((state ^ token) * 0x100000001B3) & _MASK
    state = ((state ^ (state >> 29)) * 0x9E3779B97F4A7C15) & _MASK
    return (state >> 32) % slots, state >> 16 & 0xFFFF


class NgramTable:
    """
    Args:
        checks: (M,) uint16. tokens: (M,) uint16, or uint32 where ids are larger. chances: (M,) uint8, in 255ths; 0: the slot is
            empty.
        vocabulary_digest: of the vocabulary in which it was counted; None: not known.
    """

    def __init__(
        self, checks: np.ndarray, tokens: np.ndarray, chances: np.ndarray, vocabulary_digest: str | None = None
    ) -> None:
        self._checks, self._tokens, self._chances = checks, tokens, chances
        self.vocabulary_digest = vocabulary_digest
        self.greatest_token = int(tokens.max(initial=0))

    def continuation(self, context: Sequence[int]) -> tuple[int, float] | None:
        """The likeliest token after the longest known n-gram at the end of `context`, and its share of the corpus."""
        for n in LENGTHS:
            if len(context) >= n:
                slot, check = slot_and_check(context[-n:], len(self._checks))
                if self._checks[slot] == check and self._chances[slot]:
                    return int(self._tokens[slot]), float(self._chances[slot]) / 255
        return None


def read_ngram_table(path: Path) -> NgramTable:
    """
    Raises:
        ValueError: the file is damaged.
    """
    tensors, metadata = read_tensors(path)
    checks, tokens, chances = (tensor_of(tensors, name, INTEGERS, (None,)) for name in ("checks", "tokens", "chances"))
    slots = checks.shape
    wide = "uint32" if tokens.dtype == np.uint32 else "uint16"
    expected = [("uint16", slots), (wide, slots), ("uint8", slots)]
    if [(column.dtype.name, column.shape) for column in (checks, tokens, chances)] != expected:
        raise ValueError("its columns have wrong types or lengths")
    return NgramTable(checks, tokens, chances, metadata.get("vocabulary"))

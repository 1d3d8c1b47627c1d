"""What usually follows a few tokens: the likeliest continuations in a training corpus, as a table in the bundle.

A direct-mapped table. The last N tokens, hashed, name one slot; it holds one run's continuation, how often the run was
followed by it, and 16 more bits of the hash, by which the run is known. Of runs with the same slot the more useful one
was kept (adaptation/ngrams.py). A wrong match, one in 65,536 or so, is a wrong guess and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

LENGTHS = (3, 2, 1)  # of runs, the longest first
_MASK = (1 << 64) - 1


def slot_and_check(run: Sequence[Any], slots: int) -> tuple[Any, Any]:
    """Of a run of token ids, or of arrays of them (uint64): FNV-1a over the ids, then a mix of the upper bits."""
    state: Any = run[0] * 0 + (0xCBF29CE484222325 + len(run))
    for token in run:
        state = ((state ^ token) * 0x100000001B3) & _MASK
    state = ((state ^ (state >> 29)) * 0x9E3779B97F4A7C15) & _MASK
    return (state >> 32) % slots, state >> 16 & 0xFFFF


class NgramTable:
    """A table: (M,) checks and tokens (uint16), and chances (uint8, in 255ths; 0: the slot is empty)."""

    def __init__(self, checks: np.ndarray, tokens: np.ndarray, chances: np.ndarray) -> None:
        self._checks, self._tokens, self._chances = checks, tokens, chances

    def continuation(self, context: Sequence[int]) -> tuple[int, float] | None:
        """The likeliest token after the longest run at the end of `context` that is known, and its share of the corpus."""
        for n in LENGTHS:
            if len(context) >= n:
                slot, check = slot_and_check(context[-n:], len(self._checks))
                if self._checks[slot] == check and self._chances[slot]:
                    return int(self._tokens[slot]), float(self._chances[slot]) / 255
        return None


def load_ngram_table(path: Path, vocabulary: str) -> NgramTable:
    """
    Args:
        vocabulary: the digest of the one that is used.
    Raises:
        ValueError: the file is damaged, or of another vocabulary.
    """
    ngrams, of = read_ngram_table(path)
    if of != vocabulary:
        raise ValueError("it was counted in tokens of another vocabulary")
    return ngrams


def read_ngram_table(path: Path) -> tuple[NgramTable, str | None]:
    """The table, and the digest of the vocabulary that it is of.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        with safe_open(path, "numpy") as file:
            of = (file.metadata() or {}).get("vocabulary")
            checks, tokens, chances = (file.get_tensor(name) for name in ("checks", "tokens", "chances"))
    except (OSError, SafetensorError) as error:
        raise ValueError(f"it cannot be read ({error})") from error
    columns = [(column.dtype.name, column.shape) for column in (checks, tokens, chances)]
    slots = checks.shape
    if (
        columns != [("uint16", slots), ("uint16", slots), ("uint8", slots)]
        or len(slots) != 1
        or slots == (0,)
    ):
        raise ValueError("its columns are not what they should be")
    return NgramTable(checks, tokens, chances), of

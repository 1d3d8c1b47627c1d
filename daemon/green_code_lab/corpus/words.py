"""Words of source code and hashes of runs of words, by which copies and evaluation rows are found.

Strings, comments and literals are left out, so that a copy with other documentation is still a copy, and CodeXGLUE's
rows, which have neither, match their files.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from green_code.languages import language_of

_QUOTED = r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
_WORD = r"([A-Za-z_]\w+)"
_WORDS = re.compile(_WORD)
_STEP = np.uint64(0x9E3779B97F4A7C15)


@functools.lru_cache
def _code(language: str) -> re.Pattern[str]:
    """Matches strings and comments of the language, and words, which are the first group."""
    row = language_of(language)
    long = (rf"{re.escape(quote)}(?:\\.|[^\\])*?{re.escape(quote)}" for quote in row.long_quotes)
    blocks = (rf"{re.escape(begin)}.*?{re.escape(end)}" for begin, end in row.block_comments)
    lines = (rf"{re.escape(begin)}[^\n]*" for begin in row.line_comments)
    return re.compile("|".join([*long, _QUOTED, *blocks, *lines, _WORD]), re.S)


def code_words(text: str, language: str) -> list[str]:
    """Names and keywords of two or more characters, in order."""
    return [word for word in _code(language).findall(text) if word]


def all_words(text: str) -> list[str]:
    """As `code_words`, comments and strings included."""
    return _WORDS.findall(text)


def word_hashes(words: Sequence[str]) -> NDArray[np.uint64]:
    """(N,) CRC-32 of each of N words."""
    return np.fromiter((zlib.crc32(word.encode()) for word in words), np.uint64, len(words))


def runs(hashes: NDArray[np.uint64], length: int) -> NDArray[np.uint64]:
    """(max(0, N - length + 1),) hashes of each run of `length` among N words, in order.

    A polynomial over the words' hashes modulo 2⁶⁴, then the finaliser of SplitMix64 (Steele et al., OOPSLA 2014), so
    that the lower half alone is a good hash.
    """
    count = max(0, len(hashes) - length + 1)
    total = np.zeros(count, np.uint64)
    for i in range(length):
        total = total * _STEP + hashes[i : i + count]
    total = (total ^ (total >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    total = (total ^ (total >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = total ^ (total >> np.uint64(31))
    return mixed

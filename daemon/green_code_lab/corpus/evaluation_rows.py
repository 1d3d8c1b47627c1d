"""Rows of evaluation data, which must not be in a corpus.

A file is left out where it shares three runs of 20 words with the rows (22 words in a row, or three times 20), or where
it has 70 % of the runs of 5 words of one row (most of it, with edits in between). Both are counted exactly. Rows of fewer
than 20 words are ignored: unrelated files contain them.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from green_code.problems import Problem
from green_code_lab.corpus.words import all_words, code_words, runs, word_hashes

_LONG, _LONG_SHARED = 20, 3
_SHORT, _SHARE = 5, 0.7
_SIGNS = {"java": "java", "py150": "python", "python": "python"}  # in a file's name
_FOLDERS = {"javacorpus": "java", "py150": "python"}  # CodeXGLUE's
_MARKS = re.compile(r"</?s>|<(?:STR_LIT|NUM_LIT|CHAR_LIT)[^>]*>")  # CodeXGLUE's; line ends are <EOL>


class EvaluationRows:
    """The rows of some files, {language, prefix, suffix, reference} or CodeXGLUE's {input, gt}.

    Raises Problem where a file is missing, or a line is no such row.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        rows = [hashes for path in files for hashes in _rows(path) if len(hashes) >= _LONG]
        self.count = len(rows)
        none = [np.zeros(0, np.uint64)]
        self._long = np.unique(np.concatenate(none + [runs(row, _LONG) for row in rows]))
        short = [np.unique(runs(row, _SHORT)) for row in rows]
        self._sizes = np.array([len(hashes) for hashes in short], np.intp)
        hashes = np.concatenate(none + short)
        order = np.argsort(hashes, kind="stable")
        self._short, self._owners = hashes[order], np.repeat(np.arange(len(rows)), self._sizes)[order]

    def found_in(self, text: str, code: NDArray[np.uint64]) -> str | None:
        """Why a file is left out, or None. `code`: hashes of its code's words; comments may quote a row, too."""
        if not self.count:
            return None
        return self._match(code) or self._match(word_hashes(all_words(text)))

    def _match(self, words: NDArray[np.uint64]) -> str | None:
        first, times = _places(self._long, runs(words, _LONG))
        if np.count_nonzero(times) >= _LONG_SHARED:
            return "holding an evaluation row"
        first, times = _places(self._short, runs(words, _SHORT))
        owners = [self._owners[at : at + n] for at, n in zip(first[times > 0], times[times > 0], strict=True)]
        if owners:
            shared = np.bincount(np.concatenate(owners), minlength=self.count)
            if (shared >= _SHARE * self._sizes).any():
                return "nearly holding an evaluation row"
        return None


def _places(table: NDArray[np.uint64], hashes: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First index and number of occurrences of each distinct hash in a sorted table."""
    hashes = np.unique(hashes)
    first = np.searchsorted(table, hashes, "left")
    return first, np.searchsorted(table, hashes, "right") - first


def language_of(path: Path) -> str:
    """Language of CodeXGLUE's rows: from the file's name, or from the nearest folder of CodeXGLUE's.

    Raises Problem where neither has one.
    """
    found = {language for sign, language in _SIGNS.items() if sign in path.name.lower()}
    if len(found) == 1:
        return found.pop()
    for folder in path.absolute().parents:
        if language := _FOLDERS.get(folder.name.lower()):
            return language
    raise Problem(
        "bad_request",
        f"{path}: its rows have no language; name it after java or python, move it into a folder {' or '.join(_FOLDERS)}, or (for `green-code evaluate`) use --language.",
    )


def _rows(path: Path) -> Iterator[NDArray[np.uint64]]:
    opener: Any = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            for line in filter(str.strip, lines):
                row = json.loads(line)
                if "input" in row:
                    language = language_of(path)
                    text = _MARKS.sub(" ", f"{row['input']} {row['gt']}".replace("<EOL>", "\n"))
                else:
                    language = row["language"]
                    text = row["prefix"] + row["reference"] + row.get("suffix", "")
                yield word_hashes(code_words(text, language))
    except OSError as error:
        raise Problem(
            "bad_request", f"{path} cannot be read ({error.strerror or error}); correct --exclude."
        ) from error
    except (ValueError, KeyError, TypeError, EOFError) as error:
        raise Problem(
            "bad_request",
            f"{path} has other content than rows {{language, prefix, suffix, reference}} or {{input, gt}} ({error!r}); correct --exclude.",
        ) from error

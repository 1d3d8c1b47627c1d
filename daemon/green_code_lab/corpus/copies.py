"""Exact and near copies: the first of each group stays.

Exact copies are equal up to white space. Near copies are found by MinHash (Broder 1997) over runs of 5 words: 128 minima
estimate the Jaccard similarity s with a standard error of √(s(1−s)/128), 0.035 at 0.8. Candidates come from 16 bands of
8 minima (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4) with probability 1 − (1 − s⁸)¹⁶,
0.95 at 0.8 and 0.06 at 0.5.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np
from datasketch import MinHash, MinHashLSH

from green_code_lab.corpus.evaluation_rows import EvaluationRows
from green_code_lab.corpus.files import Report, SourceFile
from green_code_lab.corpus.words import code_words, runs, word_hashes

_RUN = 5
_BANDS, _ROWS = 16, 8
_SIMILARITY = 0.8
_LOW = np.uint64(0xFFFFFFFF)  # MinHash permutes 32-bit values


def clean(files: Iterable[SourceFile], rows: EvaluationRows, report: Report) -> Iterator[SourceFile]:
    """Drop exact copies, then files with evaluation rows, then near copies."""
    seen: set[bytes] = set()
    index = MinHashLSH(num_perm=_BANDS * _ROWS, params=(_BANDS, _ROWS))
    empty = MinHash(num_perm=_BANDS * _ROWS, hashfunc=int)
    kept: list[MinHash] = []
    for file in files:
        digest = hashlib.sha256(" ".join(file.text.split()).encode()).digest()
        if digest in seen:
            report.drop("copies", file.name)
            continue
        seen.add(digest)
        words = word_hashes(code_words(file.text, file.language))
        if reason := rows.found_in(file.text, words):
            report.drop(reason, file.name)
            continue
        hashes = np.unique(runs(words, _RUN) & _LOW)
        if len(hashes):  # a file without code is no copy
            sketch = empty.copy()
            sketch.update_batch(hashes.tolist())
            if any(kept[i].jaccard(sketch) >= _SIMILARITY for i in index.query(sketch)):
                report.drop("near copies", file.name)
                continue
            index.insert(len(kept), sketch, check_duplication=False)
            kept.append(sketch)
        yield file

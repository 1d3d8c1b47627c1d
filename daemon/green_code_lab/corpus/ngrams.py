"""The bundle's n-gram table (decoding/ngram_table.py), counted in the corpus's training shards.

It has the continuations of frequent runs with a share of at least `LEAST_SHARE`, unless a shorter run gives the same one.
Where two share a slot, the one that can save more forward passes stays. Runs are counted over the 65,536 most frequent tokens
at most, so that a run of three and its continuation are one number of 64 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from green_code.decoding.ngram_table import LENGTHS, slot_and_check
from green_code_lab.corpus import Corpus

SLOTS = 390_000  # five bytes each, seven where a vocabulary has larger ids
LEAST_SHARE = 0.12  # about what a draft's row costs, in forward passes
_LEAST_COUNTS = {1: 20, 2: 8, 3: 6}  # occurrences of a run, by its length, for a meaningful share
_BITS = np.uint64(16)  # of a token in a key
_MOST_TOKENS = 1 << 16


@dataclass(frozen=True)
class Counted:
    """The likeliest continuation of every frequent run of one length, in order of keys. Tokens are places in `frequent_ids`."""

    keys: np.ndarray  # (R,) uint64: the run's tokens, 16 bits each
    tokens: np.ndarray  # (R,)
    shares: np.ndarray  # (R,) of the run's occurrences
    counts: np.ndarray  # (R,) of the continuation

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Index of each key, or −1."""
        at = np.minimum(np.searchsorted(self.keys, keys), max(0, len(self.keys) - 1))
        return np.where(self.keys[at] == keys, at, -1) if len(self.keys) else np.full(len(keys), -1)


def frequent_ids(corpus: Corpus) -> np.ndarray:
    """(K,) ascending ids of the tokens that runs are counted over: those of the training shards, the most frequent ones."""
    counts = corpus.token_counts()
    order = np.argsort(-counts, kind="stable")[:_MOST_TOKENS]
    return np.sort(order[counts[order] > 0])


def count(corpus: Corpus, length: int, ids: np.ndarray) -> Counted:
    """Over all languages' training shards. `ids`: of `frequent_ids`; runs with other tokens are left out."""
    pairs = []
    for language in corpus.languages:
        shard = np.asarray(corpus.shards[language, "train"])
        places = np.searchsorted(ids, shard)
        known = ids[np.minimum(places, len(ids) - 1)] == shard
        wanted = shard[length:] != corpus.document_marker
        key = np.zeros(len(wanted), np.uint64)  # the continuation is in the lowest bits
        for back in range(length + 1):
            part = slice(length - back, len(shard) - back)
            key |= places[part].astype(np.uint64) << (_BITS * np.uint64(back))
            wanted &= known[part]
        pairs.append(key[wanted])
    keys, counts = np.unique(np.concatenate(pairs), return_counts=True)
    runs, tokens = keys >> _BITS, (keys & np.uint64(0xFFFF)).astype(np.int64)
    order = np.lexsort((counts, runs))  # a run's likeliest continuation comes last
    runs, tokens, counts = runs[order], tokens[order], counts[order]
    last = np.flatnonzero(np.append(runs[1:] != runs[:-1], True))
    totals = np.add.reduceat(counts, np.append(0, last[:-1] + 1))
    enough = totals >= _LEAST_COUNTS[length]
    last, totals = last[enough], totals[enough]
    return Counted(runs[last], tokens[last], counts[last] / totals, counts[last])


def table(counted: Mapping[int, Counted], slots: int, ids: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of `NgramTable`. `ids`: of `frequent_ids`."""
    columns: list[tuple[np.ndarray, ...]] = []
    for length, own in counted.items():
        keep = own.shares >= LEAST_SHARE
        if length - 1 in counted:
            shorter = counted[length - 1]
            at = shorter.find(own.keys & np.uint64((1 << 16 * (length - 1)) - 1))
            near = np.abs(shorter.shares[at] - own.shares) < 0.1
            keep &= ~((at >= 0) & (shorter.tokens[at] == own.tokens) & near)
        shifts = [_BITS * np.uint64(back) for back in range(length - 1, -1, -1)]
        run = [ids[own.keys[keep] >> shift & np.uint64(0xFFFF)].astype(np.uint64) for shift in shifts]
        slot, check = slot_and_check(run, slots)
        worth = own.counts[keep] * (own.shares[keep] - LEAST_SHARE / 2)
        columns.append((slot, check, ids[own.tokens[keep]], own.shares[keep], worth))
    slot, check, tokens, shares, worth = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    order = np.argsort(worth, kind="stable")  # the more useful one is written later
    place = slot[order].astype(np.int64)
    small = not len(ids) or ids[-1] < 1 << 16
    kinds = (("checks", np.uint16), ("tokens", np.uint16 if small else np.uint32), ("chances", np.uint8))
    made = {name: np.zeros(slots, kind) for name, kind in kinds}
    made["checks"][place] = check[order]
    made["tokens"][place] = tokens[order]
    made["chances"][place] = np.maximum(1, np.rint(shares[order] * 255))
    return made


def write_ngrams(corpus: Corpus, vocabulary: str, path: Path, report: Callable[[str], None]) -> None:
    """Count and write. `vocabulary`: its digest; the table is valid with the same one only."""
    ids = frequent_ids(corpus)
    counted = {length: count(corpus, length, ids) for length in LENGTHS}
    made = table(counted, SLOTS, ids)
    part = path.with_suffix(".part")
    save_file(made, part, {"vocabulary": vocabulary})
    part.replace(path)
    found = sum(len(own.keys) for own in counted.values())
    report(f"n-grams: {np.count_nonzero(made['chances']):,} of {found:,} runs kept")

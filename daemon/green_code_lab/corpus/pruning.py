"""Which tokens a pruned vocabulary keeps."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from green_code.models.vocabulary import SPACE, Pieces, merge_rank


def choose_ids(pieces: Pieces, counts: Sequence[int], size: int) -> list[int]:
    """Choose about `size` ids: bos, eos, all bytes, then the most frequent tokens, each with the pieces it is merged from.

    Args:
        counts: of each id in a corpus.
    Returns:
        Ascending ids. Merging can only give a token whose parts are in the vocabulary, too.
    """
    texts = [t.replace(" ", SPACE) if k == 4 else t for t, k in zip(pieces.texts, pieces.kinds, strict=True)]
    place = {text: i for i, text in enumerate(texts)}
    ranks = [
        merge_rank(text, score, kind) if text else (2, 0.0)
        for text, score, kind in zip(texts, pieces.scores, pieces.kinds, strict=True)
    ]
    kept = {i for i in (pieces.bos, pieces.eos) if i is not None} | {
        i for i, kind in enumerate(pieces.kinds) if kind == 6
    }
    kept |= {place[chr(c)] for c in (*range(33, 127), 9, 10) if chr(c) in place} | {place[SPACE]}
    usable = (i for i in sorted(range(len(counts)), key=lambda i: -counts[i]) if counts[i] > 0)
    for token in usable:
        if len(kept) >= size:
            break
        kept |= _parts(texts[token], place, ranks) if pieces.kinds[token] != 6 else {token}
    return sorted(kept)


def _parts(text: str, place: dict[str, int], ranks: Sequence[tuple[int, float]]) -> set[int]:
    """Ids that occur while `text` is merged from its characters, its own included."""
    parts, seen = list(text), {place[c] for c in text if c in place}
    while len(parts) > 1:
        pairs = [(ranks[place[a + b]], i) for i, (a, b) in enumerate(itertools.pairwise(parts)) if a + b in place]
        if not pairs:
            break
        _, i = min(pairs)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
        seen.add(place[parts[i]])
    return seen

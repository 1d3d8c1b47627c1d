"""A corpus in three parts, so that weights are not chosen by the text that they are compared on.

Held-out files are in an order drawn at random (corpus/split.py): half of each language's are the search's, the other
half the comparison's. Both are of projects that training never sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from green_code.models.vocabulary import Vocabulary
from green_code_lab.corpus import Corpus, open_corpus
from green_code_lab.lite.scores import WINDOW

_LEAST = WINDOW + 2  # tokens that a scored shard needs


@dataclass(frozen=True)
class Divided:
    """Three corpora over the same shards.

    Attributes:
        training: the training shards; its held-out part is one window, as scores are made outside of training here.
        search, comparison: a half of the held-out files each.
    """

    training: Corpus
    search: Corpus
    comparison: Corpus

    @property
    def sizes(self) -> dict[str, int]:
        """Tokens by shard: what tells one corpus from another here."""
        parts = {"search": self.search, "comparison": self.comparison, "train": self.training}
        return {
            f"{language}-{name}": len(corpus.shards[language, "train" if name == "train" else "heldout"])
            for name, corpus in parts.items()
            for language in corpus.languages
        }


def open_divided(folder: Path, vocabulary: Vocabulary, tokens_per_step: int) -> Divided:
    """Raises Problem when the corpus is missing, damaged, of another tokenizer or too small."""
    corpus = open_corpus(folder, vocabulary, tokens_per_step, 4 * _LEAST)
    return divide(corpus)


def divide(corpus: Corpus) -> Divided:
    """Held-out shards are cut where the document nearest to their middle begins, or in the middle of a single one."""
    training, search, comparison = (
        {key: s for key, s in corpus.shards.items() if key[1] == "train"} for _ in range(3)
    )
    for language in corpus.languages:
        key = language, "heldout"
        shard = corpus.shards[key]
        cut = _cut(len(shard), corpus.document_starts(*key))
        training[key], search[key], comparison[key] = shard[:_LEAST], shard[:cut], shard[cut:]
    return Divided(*(Corpus(shards, corpus.document_marker) for shards in (training, search, comparison)))


def _cut(size: int, starts: np.ndarray) -> int:
    inner = [int(start) for start in starts if _LEAST <= start <= size - _LEAST]
    return min(inner, key=lambda start: abs(start - size // 2), default=size // 2)


def positions(corpus: Corpus, asked: int) -> Mapping[str, int]:
    """Positions by language that `scores.score` scores when asked for so many."""
    return {
        language: max(1, min(asked, len(corpus.shards[language, "heldout"])) // WINDOW) * WINDOW
        for language in corpus.languages
    }

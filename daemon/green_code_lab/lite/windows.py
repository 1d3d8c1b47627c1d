"""Token windows of a corpus's training shards, drawn by seed and step alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from green_code_lab.corpus import Corpus
from green_code_lab.lite.recipe import Recipe


class Windows:
    """Training shards of a corpus, and where their documents begin."""

    def __init__(self, corpus: Corpus, bos: int | None) -> None:
        self._bos = bos
        self._shards = [
            (corpus.shards[language, "train"], corpus.document_starts(language, "train"))
            for language in corpus.languages
        ]

    def batch(self, recipe: Recipe, step: int) -> Tensor:
        """(batch, sequence + 1) token ids of one step, languages in turn."""
        generator = np.random.default_rng((recipe.seed, step))
        rows = []
        for i in range(recipe.batch):
            shard, starts = self._shards[i % len(self._shards)]
            last = len(shard) - recipe.sequence - 1
            start = int(generator.integers(0, last + 1))
            if generator.random() < recipe.document_starts:
                begun = int(np.searchsorted(starts, start, "right"))
                start = min(int(starts[max(0, begun - 1)]), last)
            rows.append(shard[start : start + recipe.sequence + 1].astype(np.int64))
        return begin_with(self._bos, torch.from_numpy(np.stack(rows)))


def begin_with(bos: int | None, tokens: Tensor) -> Tensor:
    """Write bos into column 0, as every prompt has it; Gemma is much worse without it."""
    if bos is not None:
        tokens[:, 0] = bos
    return tokens

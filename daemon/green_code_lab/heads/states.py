"""States of a backend over windows of a corpus, from which lenses, KV projections and the SVD head are made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from green_code.decoding.kv_cache import KVCache
from green_code.models.backend import Backend
from green_code_lab.corpus import Corpus
from green_code_lab.lite.scores import WINDOW, begin_with


def window(shard: np.ndarray, start: int, bos: int | None) -> Tensor:
    """(WINDOW,) token ids of a shard, bos first."""
    tokens = torch.from_numpy(shard[start : start + WINDOW].astype(np.int64))
    return begin_with(bos, tokens[None])[0]


def window_states(
    decoder: Backend, corpus: Corpus, languages: Sequence[str], positions: int, each: int, bos: int | None
) -> Iterator[tuple[np.ndarray, KVCache, int]]:
    """Windows spread evenly over the training shards, `each` positions used of each: about `positions` a language.

    Yields the shard's (WINDOW,) tokens, a cache over them with bos first, and the number of windows of the language.
    """
    for language in languages:
        shard = corpus.shards[language, "train"]
        rows = max(1, min(positions, len(shard)) // each)
        for start in np.linspace(0, len(shard) - WINDOW, rows).astype(int):
            cache = KVCache(decoder)
            cache.append(window(shard, start, bos).tolist())
            yield shard[start : start + WINDOW], cache, rows

"""States of a decoder that serves, over windows of a corpus's training shards: what lenses and the screen are made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from green_code.decoding.kv_cache import KVCache
from green_code.models.backend import Backend
from green_code_lab.corpus import Corpus
from green_code_lab.lite.scores import WINDOW
from green_code_lab.lite.windows import begin_with


@dataclass(frozen=True)
class Read:
    """A window that a decoder reads. `tokens`: as the shard has them; `cache`: what rises with them, the start token first;
    `of`: how many windows there are of its language."""

    tokens: np.ndarray
    cache: KVCache
    of: int


def read_windows(
    decoder: Backend, corpus: Corpus, languages: Sequence[str], positions: int, each: int, bos: int | None
) -> Iterator[Read]:
    """Windows of 256, spread evenly over a language's training shard, of which `each` positions count: about `positions` in all."""
    for language in languages:
        shard = corpus.shards[language, "train"]
        rows = max(1, min(positions, len(shard)) // each)
        for start in np.linspace(0, len(shard) - WINDOW, rows).astype(int):
            tokens = shard[start : start + WINDOW].astype(np.int64)
            cache = KVCache(decoder)
            cache.append(begin_with(bos, torch.tensor(tokens)[None])[0].tolist())
            yield Read(tokens, cache, rows)

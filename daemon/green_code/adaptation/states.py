"""States of a decoder that serves, over windows of a corpus's training shards: what lenses and the screen are made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from green_code.adaptation.corpus import Corpus
from green_code.adaptation.scores import WINDOW
from green_code.adaptation.windows import begin_with
from green_code.decoding.staircase import Staircase
from green_code.models.serving import Served


@dataclass(frozen=True)
class Read:
    """A window that a decoder reads. `tokens`: as the shard has them; `stairs`: what rises with them, the start token first;
    `of`: how many windows there are of its language."""

    tokens: np.ndarray
    stairs: Staircase
    of: int


def read_windows(
    decoder: Served, corpus: Corpus, languages: Sequence[str], positions: int, each: int, bos: int | None
) -> Iterator[Read]:
    """Windows of 256, spread evenly over a language's training shard, of which `each` positions count: about `positions` in all."""
    for language in languages:
        shard = corpus.shards[language, "train"]
        rows = max(1, min(positions, len(shard)) // each)
        for start in np.linspace(0, len(shard) - WINDOW, rows).astype(int):
            tokens = shard[start : start + WINDOW].astype(np.int64)
            stairs = Staircase(decoder)
            stairs.append(begin_with(bos, torch.tensor(tokens)[None])[0].tolist())
            yield Read(tokens, stairs, rows)

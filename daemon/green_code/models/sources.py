"""Base checkpoints: GGUF files (`gguf_source.py`), and folders of safetensors (`hugging_face.py`).

A source gives the configuration, the tokenizer and the weights under our names (`families.Family.names`). It gives one tensor at
a time, so that a conversion never holds a second copy of all. Pickled checkpoints are not read: loading one runs code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from tokenizers import Tokenizer

from green_code.models.config import ModelConfig
from green_code.models.vocabulary import Vocabulary


class Source(Protocol):
    """A base checkpoint."""

    @property
    def config(self) -> ModelConfig: ...
    def vocabulary(self, ids: Sequence[int] | None) -> tuple[Tokenizer, int | None, list[int]]:
        """Tokenizer over `ids` (None: all), bos and eos ids in that numbering."""

    def tensors(self, ids: Sequence[int] | None) -> Iterator[tuple[str, np.ndarray]]:
        """(our name, float32 array); embedding and head have only the rows of `ids`."""

    def fingerprint(self) -> str:
        """SHA-256 of the checkpoint, hexadecimal."""


def open_vocabulary(source: Source, ids: Sequence[int] | None) -> Vocabulary:
    tokenizer, bos, eos = source.vocabulary(ids)
    return Vocabulary(tokenizer, bos, eos)

"""`tiny-random`: a complete model of a few kilobytes with seeded random weights, for tests of everything around it.

Its structure is Gemma 3's in small: sliding windows, every third layer full, QK-norm, a byte vocabulary.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence

import numpy as np
from tokenizers import Tokenizer

from green_code.models.config import ModelConfig, Rope
from green_code.models.shapes import EMBEDDING, weight_shapes
from green_code.models.vocabulary import Pieces, Vocabulary, build_tokenizer

_LAYERS = 6
_WORDS = "re ret turn return de def ▁▁ ▁▁▁▁ se lf self ▁= in pr int print".split()  # noqa: SIM905


class TinySource:
    """See the module."""

    def _pieces(self) -> Pieces:
        byte_texts = [f"<0x{b:02X}>" for b in range(256)]
        texts = ["<eos>", "<bos>", *byte_texts, *map(chr, range(33, 127)), "▁", "\n", *_WORDS]
        kinds = [3, 3, *[6] * 256, *[1] * (len(texts) - 258)]
        return Pieces(texts, [-float(i) for i in range(len(texts))], kinds, bos=1, eos=0)

    @property
    def config(self) -> ModelConfig:
        full = [(layer + 1) % 3 == 0 for layer in range(_LAYERS)]
        return ModelConfig(
            family="gemma3_text", layers=_LAYERS, width=64, heads=4, kv_heads=2, head_width=32, mlp_width=128,
            vocabulary=len(self._pieces().texts), norm_eps=1e-6, max_positions=4096, attention_scale=0.25,
            tied_head=True, windows=tuple(None if f else 8 for f in full),
            ropes=tuple(Rope(1e6 if f else 1e4) for f in full), embedding_scale=8.0,
        )  # fmt: skip

    def vocabulary(self, ids: Sequence[int] | None) -> tuple[Tokenizer, int | None, list[int]]:
        pieces = self._pieces() if ids is None else self._pieces().subset(ids)
        tokenizer = build_tokenizer(pieces)
        Vocabulary(tokenizer, pieces.bos, pieces.ends)  # whether it can encode all text
        return tokenizer, pieces.bos, pieces.ends

    def tensors(self, ids: Sequence[int] | None) -> Iterator[tuple[str, np.ndarray]]:
        generator = np.random.RandomState(0)
        for name, shape in weight_shapes(self.config).items():
            if len(shape) == 1:
                yield name, np.ones(shape, np.float32)
                continue
            matrix = _normal(generator, shape) * np.float32(shape[1] ** -0.5)
            yield name, matrix[list(ids)] if ids is not None and name == EMBEDDING else matrix

    def fingerprint(self) -> str:
        return hashlib.sha256(b"tiny-5").hexdigest()


def _normal(generator: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
    """By Box and Muller's method in blocks of 16, as torch draws them: the same weights as a torch seed's, on which tests rely."""
    drawn = generator.randint(0, 1 << 32, math.prod(shape), np.uint32) & 0xFFFFFF
    first, second = (drawn.astype(np.float32) * np.float32(2**-24)).reshape(-1, 2, 8).swapaxes(0, 1)
    radius, angle = np.sqrt(-2 * np.log(1 - first)), np.float32(2 * math.pi) * second
    return np.stack((radius * np.cos(angle), radius * np.sin(angle)), 1).reshape(shape)

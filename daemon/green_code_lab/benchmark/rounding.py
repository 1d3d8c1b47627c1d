"""How often what serves chooses another token than the same weights in float32: what its number formats change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from green_code.decoding.kv_cache import KVCache
from green_code.models.backend import Backend
from green_code.models.decoder import Decoder
from green_code_lab.benchmark.bound import torch_threads

_AT_ONCE = 128  # states whose logits are held


def rounding(
    decoder: Backend, reference: Decoder, texts: Sequence[Sequence[int]], threads: int
) -> dict[str, Any]:
    """Teacher-forced over `texts`: how many positions there are, and in which share both name the same next token.

    Args:
        reference: the same weights, in float32 on a CPU.
    """
    with torch_threads(threads):
        same = [
            own == wanted
            for text in texts
            for own, wanted in zip(_choices(decoder, text), _choices(reference, text), strict=True)
        ]
    return {"positions": len(same), "agreement": sum(same) / len(same)}


def _choices(decoder: Backend, text: Sequence[int]) -> list[int]:
    """The likeliest token after each position."""
    cache = KVCache(decoder)
    cache.append(text)
    cache.advance(len(text) - 1, decoder.config.layers)
    return [
        top.token
        for start in range(0, len(text), _AT_ONCE)
        for top in cache.top_tokens(range(start, min(start + _AT_ONCE, len(text))), decoder.config.layers)
    ]

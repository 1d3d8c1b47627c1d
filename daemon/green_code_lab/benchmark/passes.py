"""What a pass through all layers costs with several positions in it, as a verification of drafts has them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from green_code.decoding.kv_cache import KVCache
from green_code.models.backend import Backend
from green_code_lab.benchmark.cores import pin
from green_code_lab.benchmark.rounds import order
from green_code_lab.benchmark.statistics import median, ratio

POSITIONS = (1, 2, 4, 8, 16)
_ROUNDS = 60


def passes(decoder: Backend, prompt: Sequence[int], threads: Sequence[int]) -> list[dict[str, Any]]:
    """By threads and positions: seconds of a pass after the prompt, and their ratio to those of a pass over one position.

    The numbers of positions take turns, forwards and backwards; a ratio is of passes in the same round.
    """
    cache, found = KVCache(decoder), list[dict[str, Any]]()
    cache.append(prompt)
    cache.advance(len(prompt) - 1, decoder.config.layers, len(prompt) - 1)
    try:
        for count in threads:
            pin(count)
            seconds: dict[int, list[float]] = {positions: [] for positions in POSITIONS}
            for i in range(_ROUNDS):
                for positions in order(POSITIONS, i):
                    seconds[positions].append(_pass(cache, len(prompt), positions))
            found += [
                {
                    "threads": count,
                    "positions": positions,
                    **asdict(median(taken)),
                    "ratio": asdict(ratio(taken, seconds[1])),
                }
                for positions, taken in seconds.items()
            ]
    finally:
        pin(None)
    return found


def _pass(cache: KVCache, start: int, positions: int) -> float:
    cache.truncate(start)
    cache.append([cache.tokens[-1]] * positions)
    begin = time.perf_counter()
    cache.advance(len(cache) - 1, cache.decoder.config.layers, start)
    return time.perf_counter() - begin

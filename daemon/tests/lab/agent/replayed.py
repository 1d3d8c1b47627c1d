"""Rollouts made by hand, and typing into them."""

from __future__ import annotations

import numpy as np

from green_code_lab.agent.episodes import REQUESTS, Typing
from green_code_lab.agent.prices import TokenPrices
from green_code_lab.agent.rollouts import Rollouts

EXITS, LAYERS, WIDTH = (2, 4), 6, 8
PRICES = TokenPrices(
    layer_batch=0.14,
    small_batch_position=0.001,
    layer_position=0.001,
    kv_only=0.0001,
    head_batch=0.15,
    decision=0.0,
    error=2.0,
)


def rollouts(
    exit_tokens: np.ndarray,
    final: np.ndarray,
    source: np.ndarray,
    chunk: int = 4,
    states: np.ndarray | None = None,
    first_right: np.ndarray | None = None,
) -> Rollouts:
    """(P, X) exit tokens, (P,) others; chunks of `chunk` rows, greedy and teacher-forced in turn, one episode."""
    rows = len(final)
    chunks = rows // chunk
    return Rollouts(
        EXITS,
        LAYERS,
        np.ones((rows, 2, WIDTH), np.float16) if states is None else states.astype(np.float16),
        exit_tokens.astype(np.int32),
        log_odds=np.where(exit_tokens == final[:, None], 2.2, -1.4).astype(np.float16),
        margins=np.where(exit_tokens == final[:, None], 3.0, 0.5).astype(np.float16),
        first_right=np.full(rows, LAYERS) if first_right is None else first_right,
        final_tokens=final.astype(np.int32),
        source_tokens=source.astype(np.int32),
        starts=np.arange(chunks + 1) * chunk,
        episodes=np.zeros(chunks, np.int64),
        greedy=np.arange(chunks) % 2 == 0,
        languages=np.zeros(rows, np.int64),
    )


def same(exit_tokens: list[int], final: int, source: int, rows: int = 64) -> Rollouts:
    """The same position over and over."""
    return rollouts(np.tile(exit_tokens, (rows, 1)), np.full(rows, final), np.full(rows, source))


def toy(share: float = 0.6) -> Rollouts:
    """The first half of the state is +1 where the first exit is right, as in `share` of the rows, else −1."""
    n, generator = 1024, np.random.default_rng(0)
    easy = generator.random(n) < share
    states = np.where(easy[:, None, None], 1, -1) * np.ones((n, 2, 8)) + generator.normal(0, 0.3, (n, 2, 8))
    states[..., 4:] = 1
    full = np.full(n, 7)
    return rollouts(np.where(easy[:, None], 7, [[1, 2]]), full, full, states=states)


def typing(arrives: list[int], accepted: bool = False, length: int = 4, count: int = 1) -> Typing:
    """One episode: a cold prompt first; `arrives` is repeated."""
    shape = (count, REQUESTS)
    everywhere = np.ones(shape, np.int64)
    cold = np.zeros(shape, bool)
    cold[:, 0] = True
    return Typing(
        everywhere * 0,
        everywhere * length,
        np.tile(np.resize(arrives, REQUESTS), (count, 1)),
        cold,
        np.full(shape, accepted),
    )

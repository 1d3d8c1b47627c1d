"""Typing, drawn: what an editor asks of one document, request by request.

A stretch of rollouts is typed into from a place in it. Before its first request the prompt is cold; before every other one
a few tokens have come (mostly a keystroke, sometimes a line), or the cursor jumped and the prompt is cold again. A
completion is a recorded chunk; accepted, its tokens stay, else they are taken back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from green_code.settings import PROMPT_TOKENS
from green_code_lab.agent.rollouts import Rollouts

REQUESTS = 8  # of one stretch
_COLD = (16, PROMPT_TOKENS)  # tokens of a cold prompt, log-uniform; service takes no longer ones
_KEYSTROKES, _LINES = (
    0.7,
    0.25,
)  # shares of requests after 1 to 4 tokens, and after 5 to 40; before the rest, a jump
_ACCEPTED = 1 / 3
_GREEDY = 0.75  # share of chunks that the model wrote itself; the others' tokens are the source's


@dataclass(frozen=True)
class Typing:
    """Requests of `count` documents side by side, (count, N) each; N is a multiple of REQUESTS.

    `first` and `length` are the rows of the request's completion; `arrives` how many prompt tokens are new; `cold`
    whether nothing that is cached serves; `accepted` whether the completion's tokens stay.
    """

    first: np.ndarray
    length: np.ndarray
    arrives: np.ndarray
    cold: np.ndarray
    accepted: np.ndarray


def draw_typing(
    rollouts: Rollouts, count: int, episodes: int, seed: int, greedy_share: float = _GREEDY
) -> Typing:
    """`episodes` stretches of REQUESTS requests for each of `count` documents."""
    random = np.random.default_rng(seed)
    shape = (count, episodes * REQUESTS)
    # Chunks come in pairs, greedy then teacher-forced; a stretch that is too short is gone through again.
    bounds = np.searchsorted(rollouts.episodes, np.arange(rollouts.episodes[-1] + 2)) // 2
    drawn = random.integers(0, len(bounds) - 1, (count, episodes)).repeat(REQUESTS, axis=1)
    pairs_there = bounds[drawn + 1] - bounds[drawn]
    begin = random.random((count, episodes)).repeat(REQUESTS, axis=1) * np.maximum(
        1, pairs_there - REQUESTS + 1
    )
    pairs = bounds[drawn] + (begin.astype(np.int64) + np.arange(shape[1]) % REQUESTS) % pairs_there
    chunk = 2 * pairs + (random.random(shape) >= greedy_share)
    kind = random.random(shape)
    cold = (np.arange(shape[1]) % REQUESTS == 0) | (kind >= _KEYSTROKES + _LINES)
    prompt = np.exp(random.uniform(math.log(_COLD[0]), math.log(_COLD[1]), shape)).astype(np.int64)
    keystroke = random.integers(1, 5, shape)
    line = random.integers(5, 41, shape)
    return Typing(
        rollouts.starts[chunk],
        rollouts.starts[chunk + 1] - rollouts.starts[chunk],
        np.where(cold, prompt, np.where(kind < _KEYSTROKES, keystroke, line)),
        cold,
        random.random(shape) < _ACCEPTED,
    )

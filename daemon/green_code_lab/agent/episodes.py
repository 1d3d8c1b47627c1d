"""Simulated typing: the requests that an editor makes in one document.

An episode is REQUESTS requests from one place of a recorded document. The first has a cold prompt; before each other one
a few tokens arrive (mostly a keystroke, sometimes a line), or the cursor jumps and the prompt is cold again. A completion
is a recorded chunk; accepted, its tokens stay, else they are removed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from green_code.settings import PROMPT_TOKENS
from green_code_lab.agent.rollouts import Rollouts

REQUESTS = 8  # of an episode
_COLD = (16, PROMPT_TOKENS)  # tokens of a cold prompt, log-uniform
# Shares of requests after 1 to 4 tokens, and after 5 to 40; before the rest, a jump.
_KEYSTROKES, _LINES = 0.7, 0.25
_ACCEPTED = 1 / 3
_GREEDY = 0.75  # share of greedy chunks; the others are teacher-forced


@dataclass(frozen=True)
class Typing:
    """Requests of `count` documents side by side, (count, N) each; N is a multiple of REQUESTS.

    `first` and `length`: rows of the request's completion. `arrives`: new prompt tokens. `cold`: nothing is cached.
    `accepted`: the completion's tokens stay.
    """

    first: np.ndarray
    length: np.ndarray
    arrives: np.ndarray
    cold: np.ndarray
    accepted: np.ndarray


def draw_typing(rollouts: Rollouts, count: int, episodes: int, seed: int, greedy_share: float = _GREEDY) -> Typing:
    """`episodes` episodes for each of `count` documents."""
    random = np.random.default_rng(seed)
    shape = (count, episodes * REQUESTS)
    # Chunks come in pairs, greedy then teacher-forced; a recorded episode that is too short is repeated.
    bounds = np.searchsorted(rollouts.episodes, np.arange(rollouts.episodes[-1] + 2)) // 2
    drawn = random.integers(0, len(bounds) - 1, (count, episodes)).repeat(REQUESTS, axis=1)
    pairs_there = bounds[drawn + 1] - bounds[drawn]
    places = random.random((count, episodes)).repeat(REQUESTS, axis=1)
    begin = places * np.maximum(1, pairs_there - REQUESTS + 1)
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

"""Spans, records and suggesters made by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from green_code.work import Prices
from green_code_lab.replay.environment import Replayer
from green_code_lab.replay.records import LOW_DEPTHS, REASONS, Records
from green_code_lab.replay.spans import Span
from green_code_lab.replay.typist import Answer, Typist

SPAN = Span("project", "python", "import a\n", "total = first", "\nprint(total)\n")
STEADY = Typist(key=1.0, key_spread=0.0, pause=1.0, pause_spread=0.0, by_word=0.0)
"""A key each second, which needs no debounce."""

LAYERS = 2
PRICES = Prices(layer_batch=1.0, head_batch=100.0)
"""Joules tell how many layers ran, each over one batch, and how often the head did."""

Token = tuple[str, float]
"""Its text and its probability."""


class Scripted:
    """Suggests texts by cursor; remembers what it was asked."""

    def __init__(self, texts: Mapping[int, str], seconds: float = 0.0) -> None:
        self._texts, self._seconds = texts, seconds
        self.limits: dict[int, float] = {}  # by cursor
        self.places: dict[int, list[float]] = {}

    def open(self) -> float:
        assert not self.limits, "before anybody is asked"
        return 7.0

    def ask(self, cursor: int, place: list[float], limit: float) -> Answer:
        assert cursor not in self.limits, "nobody is asked twice"
        self.limits[cursor], self.places[cursor] = limit, place
        return Answer(self._texts.get(cursor, ""), joules=2.0, seconds=self._seconds, tokens=3)


def records(
    requests: Sequence[Sequence[Token]],
    span: Span = SPAN,
    prompt: Sequence[int] | None = None,
    shared: Sequence[int] | None = None,
    reason: str = "floor",
) -> tuple[Records, Any]:
    """One request for each of the span's first cursors, and the vocabulary. All end for the same reason, without a cut.

    By default each key adds a token to the prompt.
    """
    texts = sorted({text for request in requests for text, _ in request})
    tokens = [texts.index(text) for request in requests for text, _ in request]
    probabilities = [probability for request in requests for _, probability in request]
    characters = [c for request in requests for c in np.cumsum([len(text) for text, _ in request]).tolist()]
    count = len(requests)
    prompt = [3 + i for i in range(count)] if prompt is None else prompt
    return Records(
        spans=[span],
        span=np.zeros(count, np.int32),
        cursor=np.arange(count),
        starts=np.cumsum([0, *map(len, requests)]),
        prompt=np.array(prompt),
        shared=np.array([0, *prompt[:-1]] if shared is None else shared),
        final_characters=np.array([sum(len(text) for text, _ in request) for request in requests]),
        reasons=np.full(count, REASONS.index(reason)),
        tokens=np.array(tokens, np.int32),
        log_odds=np.array([math.log(p / (1 - p)) for p in probabilities], np.float32),
        characters=np.array(characters, np.int32),
        low_states=np.zeros((count, len(LOW_DEPTHS), 2), np.float16),
    ), SimpleNamespace(token_bytes=[text.encode() for text in texts])


def replayer(*args: Any, **changes: Any) -> Replayer:
    """Of `records`."""
    return Replayer(*records(*args, **changes), PRICES, LAYERS)

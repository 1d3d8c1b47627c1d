"""Spans, records and suggesters made by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from green_code.work import Prices
from green_code_lab.replay.environment import Replayer
from green_code_lab.replay.records import REASONS, Records
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
        low_states=np.zeros((count, 1, 2), np.float16),
    ), SimpleNamespace(token_bytes=[text.encode() for text in texts])


def replayer(*args: Any, **changes: Any) -> Replayer:
    """Of `records`."""
    return Replayer(*records(*args, **changes), PRICES, LAYERS)


WIDTH = 6  # of the states of `synthetic`


def synthetic(spans: int, good: float, seed: int = 0) -> Replayer:
    """Requests that are good with this chance: then all that is suggested is right and likely, and the state tells it. The others are wrong
    from the second token on, and less likely. A token is a character."""
    draw, parts = np.random.default_rng(seed), []
    for i in range(spans):
        text = "".join(draw.choice(list("abc =."), 16)).strip() + "d"
        span = Span(f"p{i}", "python", "x\n", text, "\nyyyyyy\n")
        whole, requests, states = span.text + span.after, list[list[Token]](), list[np.ndarray]()
        for offset in span.cursors:
            is_good = draw.random() < good
            right = whole[offset : offset + 5]
            suggested = right if is_good else right[:1] + "ZYX;;"[: len(right) - 1]
            low, high = (0.85, 0.99) if is_good else (0.6, 0.95)
            requests.append([(letter, float(draw.uniform(low, high))) for letter in suggested])
            state = draw.normal(size=WIDTH) + np.eye(WIDTH)[0] * (3 if is_good else -3)
            states.append(state / np.sqrt(np.mean(state**2)))
        part, _ = records(requests, span=span)
        tokens = np.array([ord(letter) for request in requests for letter, _ in request], np.int32)
        low_states = np.repeat(np.array(states, np.float16)[:, None], 2, 1)
        parts.append(replace(part, tokens=tokens, low_states=low_states))
    vocabulary: Any = SimpleNamespace(token_bytes=[bytes([i]) for i in range(128)])
    return Replayer(Records.join(parts), vocabulary, Prices(layer_batch=0.001, head_batch=0.001), 18)

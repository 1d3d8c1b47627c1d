"""How a person types, and what becomes of suggestions meanwhile: the typing that every policy is replayed with.

Keys come in bursts with pauses between them. The front's debounce and type-through stand between the keys and whoever
computes, as in the product; a request that the next key overtakes is cancelled, and costs what it had computed. A suggestion that
stands there for `reaction` seconds is seen: it is accepted if the file goes on with exactly it. If only its first words are
right, some people accept those. Else it was a rejection.

Intervals are lognormal, and each belongs to its cursor position, so that all policies meet the same typing. The mean, about
0.3 s a key, is slower than prose (0.24 s, Dhakal et al., CHI 2018), as people pause in code.
"""

from __future__ import annotations

import math
import random
import re
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from green_code.lsp.debounce import Debounce
from green_code.lsp.gate_features import LOOKED_BACK, OutcomeHistory, Place, features
from green_code.lsp.outcomes import VISIBLE_SECONDS
from green_code_lab.replay.spans import Span

_WORD = re.compile(r"\s*(?:\w+|[^\w\s]+)")
_SUFFIX = 400


@dataclass(frozen=True)
class Typist:
    """Seconds, their spread (of the logarithm) and shares."""

    key: float = 0.16
    key_spread: float = 0.4
    pause: float = 0.7
    pause_spread: float = 0.5
    pauses: float = 0.25
    reaction: float = 0.25
    by_word: float = 0.05

    def interval(self, generator: random.Random, at_line_start: bool) -> float:
        """Seconds before the next key."""
        pauses = generator.random() < self.pauses or at_line_start
        median, spread = (self.pause, self.pause_spread) if pauses else (self.key, self.key_spread)
        return median * math.exp(generator.gauss(0.0, spread))


class Answer(NamedTuple):
    """A suggestion, or none (""). `seconds` until it is shown; where they reach the limit, the request was cancelled."""

    text: str
    joules: float
    seconds: float
    tokens: int


class Suggester(Protocol):
    """Whoever computes suggestions for one span."""

    def open(self) -> float:
        """The text before the span comes into the cache; returns the joules. Once, before the first key."""

    def ask(self, cursor: int, place: list[float], limit: float) -> Answer:
        """For a cursor; `place`: its features; `limit`: seconds until the next key."""


Gate = Callable[[Place], "tuple[bool, list[float]]"]
"""Whether to ask, and the place's features."""


def always(place: Place) -> tuple[bool, list[float]]:
    """No gate."""
    return True, features(place)


@dataclass
class Typed:
    """What one span cost and brought. `keys` is all that was to be typed; `accepted` of them were written by suggestions.

    `shown` suggestions appeared before the next key, and `right` of them were right to their end; `rejected` were seen and wrong;
    `vanished` were removed by the next key within 0.1 s. Joules go by what came of them: `taken`, at least in part, `wrong`, `nothing` (no text to show,
    or cancelled). `opening`: joules, not among the others, that brought the text before the span into the cache.
    """

    span: Span
    keys: int = 0
    accepted: int = 0
    requests: int = 0
    cancelled: int = 0
    gated: int = 0
    along: int = 0
    shown: int = 0
    right: int = 0
    rejected: int = 0
    vanished: int = 0
    tokens: int = 0
    joules: float = 0.0
    opening: float = 0.0
    by_fate: dict[str, float] = field(default_factory=lambda: {"taken": 0.0, "wrong": 0.0, "nothing": 0.0})
    outcomes: list[tuple[int, int, bool]] = field(
        default_factory=list
    )  # of suggestions: cursor, accepted keys, whether it was rejected


@dataclass(eq=False)
class _Shown:
    """A suggestion from the engine: where it began, and what it has cost. `since`: when it became visible."""

    cursor: int
    offset: int
    text: str
    joules: float
    since: float = 0.0
    accepted: int = 0  # keys
    is_taken: bool = False
    is_rejected: bool = False
    is_seen: bool = False
    has_outcome: bool = False


def type_span(span: Span, suggester: Suggester, gate: Gate = always, typist: Typist = Typist(), seed: int = 0) -> Typed:
    """Type a span to its end."""
    generator = random.Random(f"{seed} {span.project} {len(span.before)} {span.text[:40]}")
    at_line_start = [i == 0 or span.text[:o].rstrip(" \t").endswith("\n") for i, o in enumerate(span.cursors)]
    intervals = [typist.interval(generator, start) for start in at_line_start]
    by_word = [generator.random() < typist.by_word for _ in span.cursors]
    replay, now, cursor = _Replay(span, suggester, gate), 0.0, 0
    replay.done.opening = suggester.open()
    while cursor < span.keys:
        due, taken = now + intervals[cursor], 0
        shown, visible = replay.suggestion(cursor, now, due)
        if shown is not None and due - visible >= typist.reaction:
            taken = replay.read(shown, span.cursors[cursor], by_word[cursor])
        if shown is not None and taken:
            now, reached = visible + typist.reaction, bisect_left(span.cursors, span.cursors[cursor] + taken)
            reached = min(reached, span.keys)
            replay.done.accepted += reached - cursor
            shown.accepted += reached - cursor
        else:
            now, reached = due, cursor + 1
        cursor = reached
        replay.go_on(cursor, now)
    return replay.result()


class _Replay:
    """A window while a span is typed: the front's debounce, type-through and outcomes, and what was counted."""

    def __init__(self, span: Span, suggester: Suggester, gate: Gate) -> None:
        self.span, self.done = span, Typed(span, span.keys)
        self._suggester, self._gate = suggester, gate
        self._whole = span.text + span.after
        self._debounce, self._history = Debounce(), OutcomeHistory()
        self._remembered = list[_Shown]()  # newest first
        self._visible: _Shown | None = None

    def suggestion(self, cursor: int, now: float, due: float) -> tuple[_Shown | None, float]:
        """What is shown at a cursor, where the last key was pressed at `now`, before the next key at `due`; and from when on."""
        done, offset = self.done, self.span.cursors[cursor]
        self._debounce.key(now)
        if (shown := _continuing(self._remembered, self.span.text, offset)) is not None:
            done.along += 1
            self._show(shown, now)
            return shown, now
        begin = now + self._debounce.wait_seconds(now)
        asks, features = self._gate(self._place(offset, now))
        done.gated += not asks
        if not asks or begin >= due:
            return None, due
        answer = self._suggester.ask(cursor, features, due - begin)
        visible = begin + answer.seconds
        done.requests += 1
        done.joules += answer.joules
        done.tokens += answer.tokens
        done.cancelled += visible >= due
        if visible >= due or not answer.text:
            done.by_fate["nothing"] += answer.joules
            return None, due
        shown = _Shown(cursor, offset, answer.text, answer.joules)
        self._remembered.insert(0, shown)
        done.shown += 1
        done.right += self._whole.startswith(answer.text, offset)
        done.vanished += due - visible < 0.1 and not self._whole.startswith(answer.text[:1], offset)
        self._show(shown, visible)
        return shown, visible

    def read(self, shown: _Shown, offset: int, by_word: bool) -> int:
        """A suggestion is seen; returns how many characters are taken of what is left of it."""
        left = shown.text[offset - shown.offset :]
        if self._whole.startswith(left, offset):
            taken = len(left)
        else:
            taken = _right_words(left, self._whole, offset) if by_word else 0
        if not taken and not shown.is_seen:
            shown.is_rejected = True
            self.done.rejected += 1
        shown.is_seen = True
        shown.is_taken = shown.is_taken or taken > 0
        return taken

    def go_on(self, cursor: int, now: float) -> None:
        """The text is typed or accepted up to a cursor: the visible suggestion agrees with it, ends there, or is gone."""
        if (shown := self._visible) is None:
            return
        typed = self.span.text[shown.offset : self.span.cursors[cursor]]
        if shown.is_taken or typed == shown.text:
            self._outcome(shown, True, now)
        if not shown.text.startswith(typed):
            self._end(now)

    def result(self) -> Typed:
        """The counts, with the fate of each suggestion."""
        for each in self._remembered:
            self.done.by_fate["taken" if each.is_taken else "wrong"] += each.joules
            self.done.outcomes.append((each.cursor, each.accepted, each.is_rejected))
        return self.done

    def _place(self, offset: int, now: float) -> Place:
        span, line = self.span, self._line(offset)
        history = self._history.at("", line, self._prefix(offset), now)
        lines = span.before.count("\n") + self._whole.count("\n") + 1
        prefix, suffix = self._prefix(offset), span.after[:_SUFFIX]
        return Place(span.language, prefix, suffix, line, lines, self._debounce.interval, history)

    def _prefix(self, offset: int) -> str:
        return (self.span.before[-LOOKED_BACK:] + self.span.text[:offset])[-LOOKED_BACK:]

    def _line(self, offset: int) -> int:
        return self.span.before.count("\n") + self.span.text.count("\n", 0, offset)

    def _show(self, shown: _Shown, now: float) -> None:
        if self._visible is not shown:
            self._end(now)
            shown.since, self._visible = now, shown

    def _end(self, now: float) -> None:
        """The visible suggestion is not there any more."""
        shown, self._visible = self._visible, None
        if shown is not None and now - shown.since >= VISIBLE_SECONDS:
            self._outcome(shown, False, now)

    def _outcome(self, shown: _Shown, taken: bool, now: float) -> None:
        """Each suggestion has one, as in the front."""
        if not shown.has_outcome:
            shown.has_outcome = True
            self._history.record("", self._line(shown.offset), self._prefix(shown.offset), taken, now)


def _continuing(remembered: list[_Shown], text: str, offset: int) -> _Shown | None:
    """As the front's type-through: the newest suggestion with which all agrees that was typed since."""
    for each in remembered:
        typed = text[each.offset : offset]
        if each.text.startswith(typed) and each.text[len(typed) :].strip():
            return each
    return None


def _right_words(left: str, whole: str, offset: int) -> int:
    """Characters of the suggestion's first words that are right."""
    taken = 0
    while (word := _WORD.match(left, taken)) and whole.startswith(word.group(), offset + taken):
        end = word.end()
        if _joins(left, end) != _joins(whole, offset + end):
            break
        taken = end
    return taken


def _joins(text: str, end: int) -> bool:
    """Whether a word goes on behind `end`."""
    return end < len(text) and (text[end] == "_" or text[end].isalnum())

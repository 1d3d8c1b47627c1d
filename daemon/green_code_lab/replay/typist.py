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
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from green_code.lsp.debounce import Debounce
from green_code.lsp.gate_features import LOOKED_BACK, OutcomeHistory, Place
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
    by_word: float = 0.1

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
    prior: float = 0.0


class Suggester(Protocol):
    """Whoever computes suggestions for one span."""

    def ask(self, cursor: int, prior: float, limit: float) -> Answer:
        """For a cursor; `prior`: the gate's log-odds; `limit`: seconds until the next key."""


Gate = Callable[[Place], "tuple[bool, float]"]
"""Whether to ask, and the log-odds that a suggestion there is accepted."""


def always(place: Place) -> tuple[bool, float]:
    """No gate."""
    return True, 0.0


@dataclass
class Typed:
    """What one span cost and brought. `keys` is all that was to be typed; `accepted` of them were written by suggestions.

    `shown` suggestions appeared before the next key, and `right` of them were right to their end; `rejected` were seen and wrong;
    `vanished` were removed by the next key within 0.1 s. Joules go by what came of them: `taken`, at least in part, `wrong`, `nothing` (no text to show,
    or cancelled).
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
    by_fate: dict[str, float] = field(default_factory=lambda: {"taken": 0.0, "wrong": 0.0, "nothing": 0.0})
    places: list[tuple[int, bool]] = field(default_factory=list)  # cursor, whether what was shown there was taken


@dataclass
class _Shown:
    """A suggestion from the engine: where it began, and what it has cost."""

    offset: int
    text: str
    joules: float
    fate: str = "wrong"
    cursor: int = 0
    seen: bool = False


def type_span(span: Span, suggester: Suggester, gate: Gate = always, typist: Typist = Typist(), seed: int = 0) -> Typed:
    """Type a span to its end."""
    generator = random.Random(f"{seed} {span.project} {len(span.before)} {span.text[:40]}")
    at_line_start = [i == 0 or span.text[:o].rstrip(" \t").endswith("\n") for i, o in enumerate(span.cursors)]
    intervals = [typist.interval(generator, start) for start in at_line_start]
    by_word = [generator.random() < typist.by_word for _ in span.cursors]
    whole, done, debounce, history = span.text + span.after, Typed(span, span.keys), Debounce(), OutcomeHistory()
    remembered, now, before, cursor = list[_Shown](), 0.0, -math.inf, 0
    first_line, lines = span.before.count("\n"), whole.count("\n") + span.before.count("\n") + 1
    while cursor < span.keys:
        offset, due = span.cursors[cursor], now + intervals[cursor]
        debounce.key(now)
        shown, visible = _continuing(remembered, span.text, offset), now
        if shown is not None:
            done.along += 1
        else:
            line = first_line + span.text.count("\n", 0, offset)
            prefix = (span.before[-LOOKED_BACK:] + span.text[:offset])[-LOOKED_BACK:]
            summary = history.at("", line, prefix, now)
            rest = whole[len(span.text) :]
            place = Place(span.language, prefix, rest[:_SUFFIX], line, lines, now - before, summary)
            wait = debounce.wait_seconds(now)
            asks, prior = gate(place)
            done.gated += not asks
            if asks and now + wait < due:
                answer = suggester.ask(cursor, prior, due - now - wait)
                done.requests += 1
                done.joules += answer.joules
                done.tokens += answer.tokens
                visible = now + wait + answer.seconds
                if visible >= due:
                    done.cancelled += 1
                    done.by_fate["nothing"] += answer.joules
                elif not answer.text:
                    done.by_fate["nothing"] += answer.joules
                else:
                    shown = _Shown(offset, answer.text, answer.joules, cursor=cursor)
                    remembered.insert(0, shown)
                    done.shown += 1
                    done.right += whole.startswith(answer.text, offset)
                    done.vanished += due - visible < 0.1 and not whole.startswith(answer.text[:1], offset)
        before, taken = now, 0
        if shown is not None and due - visible >= typist.reaction:
            left = shown.text[offset - shown.offset :]
            if whole.startswith(left, offset):
                taken = len(left)
            elif by_word[cursor]:
                taken = _right_words(left, whole, offset)
            if taken:
                shown.fate, now = "taken", visible + typist.reaction
            elif not shown.seen:
                done.rejected += 1
            if taken or not shown.seen:
                line = first_line + span.text.count("\n", 0, offset)
                history.record("", line, span.before[-LOOKED_BACK:] + span.text[:offset], bool(taken), due)
            shown.seen = True
        if taken:
            reached = next((i for i, o in enumerate(span.cursors) if o >= offset + taken), span.keys)
            done.accepted += reached - cursor
            cursor = reached
        else:
            cursor, now = cursor + 1, due
    for each in remembered:
        done.by_fate[each.fate] += each.joules
        done.places.append((each.cursor, each.fate == "taken"))
    return done


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

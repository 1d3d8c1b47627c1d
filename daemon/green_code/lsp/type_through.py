"""Suggestions that were given lately: typing along one, or coming back to where it was given, needs no engine.

While what is typed agrees with a suggestion, its rest still stands. It is found again by the text before the cursor and
by everything else that was asked; so one that an edit, a setting or the moving window has overtaken is never shown.
Brackets and quotes that the editor closes by itself stand after the cursor then: the rest ends before them.
Must not know: documents, or when an editor asks.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from green_code.link.messages import CompletionParams, CompletionResult

KEPT: Final = 64
"""Suggestions of a document that are remembered."""

_OPENERS, _CLOSERS = "([{", ")]}"
_OPENER_OF = {**dict(zip(_CLOSERS, _OPENERS, strict=True)), **{quote: quote for quote in "\"'`"}}


@dataclass(frozen=True)
class _Given:
    prefix: str
    suffix: str
    rest_of_question: dict[str, Any]
    result: CompletionResult


class TypeThrough:
    """One document's suggestions, the newest first."""

    def __init__(self) -> None:
        self._given: deque[_Given] = deque(maxlen=KEPT)

    def remember(self, asked: CompletionParams, result: CompletionResult) -> None:
        """A suggestion that is now shown."""
        self._given.appendleft(_Given(asked["prefix"], asked["suffix"], _rest_of(asked), result))

    def forget(self) -> None:
        """What was suggested holds no longer."""
        self._given.clear()

    def find(self, asked: CompletionParams) -> CompletionResult | None:
        """The suggestion that this question continues, with the text that is left of it; None: ask the engine."""
        prefix, rest_of_question = asked["prefix"], _rest_of(asked)
        for given in self._given:
            if not prefix.startswith(given.prefix) or given.rest_of_question != rest_of_question:
                continue
            typed, text = prefix[len(given.prefix) :], given.result["text"]
            if not text.startswith(typed):
                continue
            left = _before_closed(text[len(typed) :], typed, given.suffix, asked["suffix"])
            if left.strip():
                return {**given.result, "text": left}
        return None


def _rest_of(asked: CompletionParams) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if name not in ("prefix", "suffix")}


def _before_closed(rest: str, typed: str, then: str, now: str) -> str:
    """The part of `rest` before what the editor has closed; nothing where the text after the cursor changed otherwise.

    Args:
        then, now: the text after the cursor when the suggestion was made, and now.
    """
    if now == then:
        return rest
    closed = now[:1]
    opener = _OPENER_OF.get(closed)
    if opener is None or opener not in typed or now[1:] != then[: len(now) - 1]:
        return ""
    depth = 0
    for i, character in enumerate(rest):
        if character == closed and depth == 0:
            return rest[:i]
        depth += (character in _OPENERS) - (character in _CLOSERS)
    return ""

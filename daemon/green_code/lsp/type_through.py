"""Suggestions that were given lately: typing along one, or coming back to where it was given, needs no engine.

The engine's answer depends on nothing but what it is asked, so the same question has the same answer. And while what is
typed agrees with a suggestion, its rest still stands. A suggestion is found again by the text before the cursor and
by everything else that was asked; so one that an edit, a setting or the moving window has overtaken is never shown.
Must not know: documents, or when an editor asks.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from green_code.link.messages import CompletionParams, CompletionResult

KEPT: Final = 64
"""Suggestions of a document that are remembered."""


@dataclass(frozen=True)
class _Given:
    prefix: str
    rest_of_question: dict[str, Any]
    result: CompletionResult


class TypeThrough:
    """One document's suggestions, the newest first."""

    def __init__(self) -> None:
        self._given: deque[_Given] = deque(maxlen=KEPT)

    def remember(self, asked: CompletionParams, result: CompletionResult) -> None:
        """A suggestion that is now shown."""
        self._given.appendleft(_Given(asked["prefix"], _without_prefix(asked), result))

    def find(self, asked: CompletionParams) -> CompletionResult | None:
        """The suggestion that this question continues, with the text that is left of it; None: ask the engine."""
        prefix, rest_of_question = asked["prefix"], _without_prefix(asked)
        for given in self._given:
            if not prefix.startswith(given.prefix) or given.rest_of_question != rest_of_question:
                continue
            typed, text = prefix[len(given.prefix) :], given.result["text"]
            if text.startswith(typed) and text[len(typed) :].strip():
                return {**given.result, "text": text[len(typed) :]}
        return None


def _without_prefix(asked: CompletionParams) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if name != "prefix"}

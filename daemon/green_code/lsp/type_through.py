"""Type-through: typing along a recent suggestion, or deleting back to it, needs no engine.

A suggestion stays valid while the typed text agrees with it. It is found by the text before the cursor and by all other
parameters of the request, so a suggestion from before an edit or a change of settings is never shown. A request by hand gets
no suggestion that was cut; but what was asked by hand may be typed along. Brackets and quotes that the editor closed by itself
are no difference: what is inserted is made to fit later.
Must not know: documents, or when an editor sends requests.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final, NamedTuple

from green_code.link.messages import CompletionParams, CompletionResult

REMEMBERED: Final = 64
"""Suggestions in memory, for each document."""

_CLOSED_AT_MOST: Final = 3
_NO_DIFFERENCE: Final = ("prefix", "suffix", "place", "alternatives", "snippets")
"""Parameters that are compared apart, or not at all."""
_OPENER_OF: Final = {")": "(", "]": "[", "}": "{", **{quote: quote for quote in "\"'`"}}


class _Suggestion(NamedTuple):
    prefix: str
    suffix: str
    other_params: dict[str, Any]
    result: CompletionResult


class TypeThrough:
    """The recent suggestions of one document, newest first."""

    def __init__(self) -> None:
        self._suggestions: deque[_Suggestion] = deque(maxlen=REMEMBERED)

    def add(self, params: CompletionParams, result: CompletionResult) -> None:
        """A suggestion is made. If a time limit cut it, the next request may give more, so it is not remembered."""
        if result["reason"] == "budget":
            return
        suggestion = _Suggestion(params["prefix"], params["suffix"], _other(params), result)
        self._suggestions.appendleft(suggestion)

    def clear(self) -> None:
        """The engine may give other suggestions from now on."""
        self._suggestions.clear()

    def find(self, params: CompletionParams) -> CompletionResult | None:
        """The newest suggestion that continues this request's prefix, without the typed part; None: ask the engine."""
        prefix, other_params = params["prefix"], _other(params)
        for old in self._suggestions:
            if not prefix.startswith(old.prefix) or not _answers(old.other_params, other_params):
                continue
            typed, text = prefix[len(old.prefix) :], old.result["text"]
            if not text.startswith(typed) or not _is_suffix(params["suffix"], old.suffix, typed):
                continue
            if (rest := text[len(typed) :]).strip():
                others = (other.removeprefix(typed) for other in old.result["alternatives"] if other.startswith(typed))
                return {**old.result, "text": rest, "alternatives": [other for other in others if other.strip()]}
        return None


def same_request(one: CompletionParams, other: CompletionParams) -> bool:
    """Whether two requests have the same answer, apart from alternatives; features of the place and snippets are no difference."""
    places = [(each["prefix"], each["suffix"]) for each in (one, other)]
    return places[0] == places[1] and _other(one) == _other(other)


def _other(params: CompletionParams) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name not in _NO_DIFFERENCE}


def _answers(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether a suggestion with other parameters `old` may be shown for `new`; one without a stop (0) may for any stop."""
    return old == new or (old.get("stop") == 0 and old == {**new, "stop": 0})


def _is_suffix(suffix: str, old: str, typed: str) -> bool:
    """Whether the text after the cursor is the old one but for brackets and quotes: the editor has closed some that were typed,
    or some were typed over. Both texts are cut at their ends."""
    if suffix == old:
        return True
    for count in range(1, _CLOSED_AT_MOST + 1):
        closed, over = suffix[:count], old[:count]
        if all(_OPENER_OF.get(sign, "\n") in typed for sign in closed) and suffix[count:] == old[: len(suffix) - count]:
            return True
        if (
            all(sign in _OPENER_OF for sign in over)
            and typed.endswith(over)
            and suffix[: len(old) - count] == old[count:]
        ):
            return True
    return False

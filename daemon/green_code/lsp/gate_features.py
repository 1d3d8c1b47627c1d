"""What the gate sees of a place: plain numbers, the same in the front and in training.

In the spirit of Copilot's contextual filter (arXiv 2405.14753, appendix): the characters beside the cursor, the line, the
pause before the key, and what became of the last suggestions. A call takes some tens of microseconds, in a file of any size.
Must not know: weights, documents, or the engine.
"""

from __future__ import annotations

import math
import re
from collections import deque
from dataclasses import dataclass
from typing import Final

from green_code.languages import CODE, language_of
from green_code.lexical import is_word

LOOKED_BACK: Final = 8_000
"""Characters before the cursor that are looked at; a longer line counts as cut."""

_REMEMBERED_PLACES: Final = 64
_PLACE_CHARACTERS: Final = 200
_OUTCOMES: Final = 20
"""The mean of outcomes weights each with exp(-age / 20)."""

_LONGEST_WORD: Final = 64
_OCCURRENCES_AT_MOST: Final = 15
_SEARCHES_AT_MOST: Final = 300

_KINDS: Final = (
    "line_start",
    "indent",
    "letter",
    "digit",
    "underscore",
    "blank",
    "dot",
    "comma",
    "opening",
    "closing",
    "quote",
    "operator",
    "colon",
    "other",
)
_KIND_OF: Final = {
    character: kind
    for kind, characters in (
        ("underscore", "_"),
        ("blank", " \t"),
        ("dot", "."),
        ("comma", ","),
        ("opening", "([{"),
        ("closing", ")]}"),
        ("quote", "\"'`"),
        ("operator", "+-*/%=<>!&|^~?"),
        ("colon", ":;"),
    )
    for character in characters
}
_AFTER: Final = ("nothing", "closers", "text")
_LANGUAGES: Final = (*CODE, "other")
_KEYWORDS: Final = {
    "value": ("return", "yield", "raise", "throw", "await", "new", "case", "lambda", "print"),
    "condition": ("if", "elif", "else", "while", "assert", "and", "or", "not", "is"),
    "loop": ("for", "in", "with", "as"),
    "import": ("import", "from", "package"),
    "definition": ("def", "class", "interface", "enum", "record", "extends", "implements", "throws", "void"),
    "modifier": ("public", "private", "protected", "static", "final", "abstract", "async"),
}
_KEYWORD_OF: Final = {word: group for group, words in _KEYWORDS.items() for word in words}
_COMMENT_STARTS: Final = ("#", "//", "/*", "*")
_FIRST_WORD: Final = re.compile(r"\s*(\w{1,64})")

NAMES: Final[tuple[str, ...]] = (
    *(f"last_{kind}" for kind in _KINDS),
    *(f"second_last_{kind}" for kind in _KINDS),
    *(f"after_{kind}" for kind in _AFTER),
    *(f"language_{language}" for language in _LANGUAGES),
    *(f"keyword_{group}" for group in _KEYWORDS),
    "word_length",
    "word_begins_others",
    "word_seen",
    "line_length",
    "indentation",
    "indentation_change",
    "open_brackets",
    "in_comment",
    "in_string",
    "previous_length",
    "previous_opens_block",
    "previous_goes_on",
    "same_first_word",
    "position",
    "document_length",
    "pause",
    "last_taken",
    "mean_taken",
    "rejected_on_line",
    "rejected_here",
    "since_taken",
)
"""Names of the features, in the order of `features`."""


@dataclass(frozen=True)
class History:
    """What became of the suggestions before. An outcome is 1 if a suggestion was taken, -1 if not, 0 if there was none.

    `mean_outcome` is exponential over about twenty outcomes. `rejected_here`: one was shown at this very place and not taken.
    """

    last_outcome: float = 0.0
    mean_outcome: float = 0.0
    rejected_on_line: int = 0
    rejected_here: bool = False
    seconds_since_taken: float = math.inf


@dataclass(frozen=True)
class Place:
    """A cursor, as the gate sees it.

    `prefix` and `suffix` are the text around the cursor, with \\n as the only line end; they reach `LOOKED_BACK` characters
    back, or to the document's start, and to the end of the line at least. `line` counts from 0. `pause_seconds` is the time
    between the last key and the one before it.
    """

    language: str
    prefix: str
    suffix: str
    line: int
    lines: int
    pause_seconds: float = math.inf
    history: History = History()


class OutcomeHistory:
    """What became of the suggestions in one window. Each counts once, however often its rest is shown while it is typed.

    Times are seconds of any one clock.
    """

    def __init__(self) -> None:
        self._last = self._mean = 0.0
        self._taken_at = -math.inf
        self._line: tuple[str, int] | None = None
        self._rejected_on_line = 0
        self._rejected: deque[tuple[str, str]] = deque(maxlen=_REMEMBERED_PLACES)

    def record(self, document: str, line: int, prefix: str, taken: bool, now: float) -> None:
        """A suggestion that was shown behind `prefix` was taken, at least in part, or was not.

        Args:
            document: identifies the document.
        """
        self._last = 1.0 if taken else -1.0
        self._mean += (self._last - self._mean) / _OUTCOMES
        if taken:
            self._taken_at = now
            return
        if self._line != (document, line):
            self._line, self._rejected_on_line = (document, line), 0
        self._rejected_on_line += 1
        self._rejected.append((document, prefix[-_PLACE_CHARACTERS:]))

    def at(self, document: str, line: int, prefix: str, now: float) -> History:
        """The summary for a cursor behind `prefix`."""
        return History(
            last_outcome=self._last,
            mean_outcome=self._mean,
            rejected_on_line=self._rejected_on_line if self._line == (document, line) else 0,
            rejected_here=(document, prefix[-_PLACE_CHARACTERS:]) in self._rejected,
            seconds_since_taken=max(0.0, now - self._taken_at),
        )


def features(place: Place) -> list[float]:
    """One number per name of `NAMES`, all within [-3, 3], for any text."""
    head, _, before = place.prefix[-LOOKED_BACK:].rpartition("\n")
    after = place.suffix[:LOOKED_BACK].partition("\n")[0]
    previous = head.rstrip().rpartition("\n")[2]
    body = before.lstrip()
    word = _word_before(before)
    longer, whole = _occurrences(word, place.prefix[-LOOKED_BACK : len(place.prefix) - len(word)])
    history = place.history
    return [
        *_one_hot(_KINDS, _kind(before)),
        *_one_hot(_KINDS, _kind(before[:-1])),
        *_one_hot(_AFTER, _kind_after(after)),
        *_one_hot(_LANGUAGES, _language(place.language)),
        *_one_hot(tuple(_KEYWORDS), _KEYWORD_OF.get(_word_before(before.rstrip()) if not word else "", "")),
        _log(len(word), 2.0),
        _log(longer, 1.0),
        _log(whole, 1.0),
        _log(len(body), 2.0),
        _log(_indentation(before), 2.0),
        _clamp((_indentation(before) - _indentation(previous)) / 4.0),
        _clamp(float(sum(map(before.count, "([{")) - sum(map(before.count, ")]}")))),
        float(body.startswith(_COMMENT_STARTS)),
        float(any((before.count(quote) - before.count("\\" + quote)) % 2 for quote in "\"'`")),
        _log(len(previous.strip()), 2.0),
        float(previous.rstrip().endswith((":", "{", "("))),
        float(previous.rstrip().endswith((",", "\\", "+", "=", "&&", "||"))),
        float(bool(body) and _first_word(before) == _first_word(previous) != ""),
        _clamp(place.line / max(1, place.lines)),
        _log(place.lines, 4.0),
        _log_seconds(place.pause_seconds, 0.03, 30.0),
        _clamp(history.last_outcome),
        _clamp(history.mean_outcome),
        _log(history.rejected_on_line, 1.0),
        float(history.rejected_here),
        _log_seconds(history.seconds_since_taken, 1.0, 1000.0),
    ]


def _one_hot(names: tuple[str, ...], name: str) -> list[float]:
    return [float(name == each) for each in names]


def _language(name: str) -> str:
    """That of its row: TypeScript with React is TypeScript."""
    row = language_of(name).ids[:1]
    return row[0] if row and row[0] in CODE else "other"


def _kind(before: str) -> str:
    """The kind of the last character of a line's beginning."""
    if not before:
        return "line_start"
    character = before[-1]
    if character.isspace() and not before.strip():
        return "indent"
    if character.isalpha():
        return "letter"
    return "digit" if character.isdigit() else _KIND_OF.get(character, "other")


def _kind_after(after: str) -> str:
    rest = after.strip()
    if not rest:
        return "nothing"
    return "closers" if not rest.strip(")]}\"'`:;, ") else "text"


def _word_before(text: str) -> str:
    """The word that the text ends in; a very long one counts as cut."""
    start = len(text)
    least = max(0, start - _LONGEST_WORD)
    while start > least and (text[start - 1] == "_" or text[start - 1].isalnum()):
        start -= 1
    return text[start:]


def _occurrences(word: str, text: str) -> tuple[int, int]:
    """Words of the text that begin with `word`: longer ones, and the same one. A single letter tells nothing."""
    longer = whole = 0
    end = 0
    for _ in range(_SEARCHES_AT_MOST if len(word) > 1 else 0):
        at = text.find(word, end)
        if at < 0 or longer + whole >= _OCCURRENCES_AT_MOST:
            break
        end = at + len(word)
        if at == 0 or not is_word(text[at - 1]):
            if is_word(text[end : end + 1]):
                longer += 1
            else:
                whole += 1
    return longer, whole


def _first_word(line: str) -> str:
    match = _FIRST_WORD.match(line)
    return match[1] if match else ""


def _indentation(line: str) -> int:
    """Columns before a line's text; a tab counts as four."""
    blank = line[: len(line) - len(line.lstrip())]
    return len(blank) + 3 * blank.count("\t")


def _clamp(value: float) -> float:
    return max(-3.0, min(3.0, value))


def _log(count: int, scale: float) -> float:
    return _clamp(math.log1p(max(0, count)) / scale)


def _log_seconds(seconds: float, least: float, most: float) -> float:
    """From 0 at `least` seconds, or fewer, to 1 at `most`, or more."""
    return math.log(max(least, min(most, seconds)) / least) / math.log(most / least)

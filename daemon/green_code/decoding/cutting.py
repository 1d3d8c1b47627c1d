"""Where the text of a completion is cut, so that nothing that is shown is half written."""

from __future__ import annotations

import re
from typing import Final

from green_code.decoding.blocks import is_definition
from green_code.decoding.brackets import opened, read
from green_code.decoding.stop_rules import Situation

SURE: Final = 0.8
"""An identifier is shown up to any place where all before is right with this probability."""
LEAST_SHOWN: Final = 3
"""Characters, without blanks around them; less is not worth showing."""
_WORD = re.compile(r"\w+\Z")
_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*(\\(?:N\{[^}]*)?)\Z")
_BETWEEN_PIECES: Final = " \t,+-*/%=&|<>^"
_LIMITS: Final = frozenset(["max_tokens", "budget"])
_AS_THEY_ARE: Final = frozenset(["closing_bracket", "suffix_reached", "end_of_line"])


def cut(text: str, refused: str, at: Situation, sure: int) -> str:
    """`text` without an identifier that `refused` goes on with, a string's escape, or what opens a bracket or string and does not
    close it.

    Args:
        refused: the text of the token at which the completion ended. sure: how many characters are right with a probability of
            `SURE`; an identifier among these is kept.
    Returns:
        No text where less than `LEAST_SHOWN` characters would be left.
    """
    whole = text
    if re.match(r"\w", refused):
        text = _WORD.sub("", text)
    if escape := _ESCAPE.search(at.line + text):
        text = text[: max(0, escape.start(1) - len(at.line))]
    return _worth(_closed(whole[: max(len(text), sure)], at).rstrip())


def finished(text: str, reason: str, at: Situation) -> str:
    """`text`, which ended for a stop rule, a limit or the end of the text, up to the last place where the language can end: without
    a line that a limit broke off, what is not closed, a line that wants a block behind it, and blank lines."""
    if reason in _AS_THEY_ARE:
        return text
    if reason in _LIMITS:
        whole_lines = text.rpartition("\n")[0]
        text = whole_lines if (at.line + whole_lines).strip() and whole_lines else cut(text, "_", at, 0)
    if reason == "repetition":
        text = text.rstrip(_BETWEEN_PIECES)
    place = _open_place(text, at)
    if place is not None:
        lines = text[: text.rfind("\n", 0, place) + 1]
        text = lines if lines.strip() else _worth(text[:place])
    if at.rest_of_line.strip():
        return text
    lines_left = text.rstrip().split("\n")
    while len(lines_left) > 1 and _wants_more(lines_left[-1].strip(), at):
        lines_left.pop()
    return "\n".join(lines_left).rstrip()


def finished_line(text: str, at: Situation) -> str:
    """`text` that ends with its first line: without what is not closed, unless it is the brace of a block."""
    shown = text.rstrip()
    return (
        shown if _closed(shown.removesuffix("{"), at) == shown.removesuffix("{") else _worth(_closed(text, at).rstrip())
    )


def _worth(text: str) -> str:
    return text if len(text.strip()) >= LEAST_SHOWN else ""


def _closed(text: str, at: Situation) -> str:
    return text[: _open_place(text, at)]


def _open_place(text: str, at: Situation) -> int | None:
    """The first place where the text opens a bracket or a string and does not close it."""
    reading = read(text, at.language, at.inside)
    places = [place for place, _ in opened(reading.brackets)]
    if at.language.blocks != "none":
        places += reading.broken
    start, end = reading.spans[-1] if reading.spans else (0, 0)
    is_string = reading.inside in (*at.language.quotes, *at.language.long_quotes)
    if end > len(text) and is_string and (start or not at.inside):
        places.append(start)
    return min(places, default=None)


def _wants_more(line: str, at: Situation) -> bool:
    """Whether a block or a definition has to follow a line."""
    header = at.language.blocks == "indent" and line.endswith(":")
    return not at.inside and (
        header or line.endswith("\\") or (line.startswith("@") and is_definition(line, at.language))
    )

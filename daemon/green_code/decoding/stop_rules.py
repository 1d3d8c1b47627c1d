"""Stop rules: when a completion is finished, checked after every token.

Each rule is one function of the text so far and the situation at the cursor; it returns the length to which the text is cut, or
None. A rule ends generation, not only the text, and its name is the reason that users see. `RULES` is their order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

_OPENERS, _CLOSERS = "([{", ")]}"
_COMMENT, _LONG_QUOTES = "#", ('"""', "'''")
_SIGNS = re.compile(r"\\.|\"\"\"|'''|//|[][(){}\"'#\n]")  # an escaped character is a sign of its own
_LINE = re.compile(r"\S.*\n")  # with content
_WORD = re.compile(r"\w+$")
_STRING_PREFIXES = frozenset(["r", "u", "b", "f", "br", "rb", "fr", "rf"])  # of Python's strings
_LOOK_AHEAD = 2000  # characters after the cursor's line
_LONGEST_PERIOD_LINES = 4
_LONGEST_PIECE = 32
_LONGEST_RUN = 80  # of one character: a separator ends sooner


@dataclass(frozen=True)
class Situation:
    """What the rules know about the cursor.

    `line` is the text before the cursor on its line, `rest_of_line` the text after it there, `after` the following lines, and
    `next_line` the first of them with content, indented as it is.
    """

    line: str
    rest_of_line: str
    after: str
    next_line: str
    single_line: bool
    max_lines: int

    @property
    def indentation(self) -> int:
        return len(self.line) - len(self.line.lstrip())

    @classmethod
    def at(cls, prefix: str, suffix: str, single_line: bool, max_lines: int) -> Situation:
        rest, _, after = suffix.partition("\n")
        following = (line.rstrip() for line in after.split("\n"))
        line = prefix.rpartition("\n")[2]
        next_line = next((text for text in following if text), "")
        return cls(line, rest, after[:_LOOK_AHEAD], next_line, single_line, max_lines)

    @cached_property
    def quote(self) -> str:
        """The quote of the string in which the cursor stands, _COMMENT in a comment, or nothing."""
        return _brackets(self.line)[1]

    @cached_property
    def still_to_close(self) -> int:
        """How many of the line's open brackets, the inner ones, nothing after the cursor closes."""
        behind = f"{self.rest_of_line}\n{self.after}"
        return max(0, _open(_brackets(self.line)[0]) - _closed_before(behind, self.quote))


def end_of_line(text: str, at: Situation) -> int | None:
    """The end of a single line."""
    return line_end(text, at) if at.single_line else None


def line_end(text: str, at: Situation, start: int = 0) -> int | None:
    """The end, at `start` or later, of a line with content; where the cursor's line is blank, leading line breaks pass."""
    content = at.line.strip()[:1]
    ends = (match.end() - 1 - len(content) for match in _LINE.finditer(content + text))
    return next((end for end in ends if end >= start), None)


def closing_bracket(text: str, at: Situation) -> int | None:
    """A closing bracket that the completion did not open and that the rest of the line has already.

    Of the line's open brackets, the text after the cursor closes the outer ones; the completion closes the others.
    """
    rest = at.rest_of_line.lstrip()
    if not rest.startswith(tuple(_CLOSERS)):
        return None
    own, still_to_close = 0, at.still_to_close
    for place, bracket in _brackets(text, at.quote)[0]:
        if bracket in _OPENERS:
            own += 1
        elif own:
            own -= 1
        elif still_to_close:
            still_to_close -= 1
        elif rest.startswith(bracket):
            return place
    return None


def _brackets(text: str, quote: str = "") -> tuple[list[tuple[int, str]], str]:
    """Brackets outside of strings, with their places; and the quote of the string in which the text ends, or _COMMENT.

    Args:
        quote: of the string in which it begins. Comments end with their line, and so do strings without triple quotes.
    """
    found = []
    for sign in _SIGNS.finditer(text):
        written, place = sign.group(), sign.start()
        if written == "\n":
            quote = quote if quote in _LONG_QUOTES else ""
        elif written in _OPENERS or written in _CLOSERS:
            if quote in ("", _COMMENT):
                found.append((place, written))
        elif quote:
            quote = "" if written == quote else quote
        elif written in ("#", "//"):
            quote = _COMMENT
        elif not written.startswith("\\") and not _is_apostrophe(written, text, place):
            quote = written
    return found, quote


def _is_apostrophe(written: str, text: str, place: int) -> bool:
    """Whether it stands inside a word, as in comments and prose."""
    if written != "'" or not text[place + 1 : place + 2].isalpha():
        return False
    before = _WORD.search(text, max(0, place - 8), place)
    return before is not None and before.group().lower() not in _STRING_PREFIXES


def _open(brackets: Sequence[tuple[int, str]]) -> int:
    """How many are left open."""
    depth = 0
    for _, bracket in brackets:
        depth = depth + 1 if bracket in _OPENERS else max(0, depth - 1)
    return depth


def first_open_bracket(text: str, at: Situation) -> int | None:
    """The place of the first bracket that the text opens and does not close."""
    places: list[int] = []
    for place, bracket in _brackets(text, at.quote)[0]:
        if bracket in _OPENERS:
            places.append(place)
        elif places:
            places.pop()
    return places[0] if places else None


def _closed_before(rest: str, quote: str) -> int:
    """How many brackets it closes that were opened before it."""
    depth = lowest = 0
    for _, bracket in _brackets(rest, quote)[0]:
        depth += 1 if bracket in _OPENERS else -1
        lowest = min(lowest, depth)
    return -lowest


def end_of_block(text: str, at: Situation) -> int | None:
    """The maximum of lines, or a complete line that is indented less than the cursor's."""
    if at.single_line:
        return None  # `end_of_line` decides; it lets leading line breaks pass where the line is blank
    lines = text.split("\n")
    if len(lines) > at.max_lines:
        return len("\n".join(lines[: at.max_lines]))
    for i, line in enumerate(lines[1:], 1):
        complete = i < len(lines) - 1 or bool(line.strip())
        if complete and line.strip() and len(line) - len(line.lstrip()) < at.indentation:
            return len("\n".join(lines[:i]))
    return None


def suffix_reached(text: str, at: Situation) -> int | None:
    """The completion repeats the next line of the file, or the rest of the cursor's own line.

    Where it ends like that rest but has opened a bracket or a string itself, the end is its own.
    """
    rest, written = at.rest_of_line.strip(), text.rstrip()
    if len(rest) > 1 and written.endswith(rest):
        kept = written.removesuffix(rest)
        brackets, quote = _brackets(kept, at.quote)
        if not _open(brackets) and quote == at.quote:
            return len(kept)
    lines = text.split("\n")
    if len(at.next_line.strip()) > 2:
        for i, line in enumerate(lines[1:-1], 1):
            if line.rstrip() == at.next_line:
                return len("\n".join(lines[:i]))
    return None


def repetition(text: str, at: Situation) -> int | None:
    """The last lines repeat, or one short piece fills the line; cut before the repeat. A separator line is no repetition, unless it
    does not end."""
    lines = text.split("\n")
    done = lines[:-1]
    for period in range(1, _LONGEST_PERIOD_LINES + 1):
        tail = done[-2 * period :]
        if len(tail) == 2 * period and tail[:period] == tail[period:] and any(line.strip() for line in tail):
            return len("\n".join(done[:-period]))
    last = lines[-1]
    if last.strip() and last.endswith(last[-1] * _LONGEST_RUN):
        return len(text)
    for width in range(2, _LONGEST_PIECE + 1):
        piece, times = last[-width:], 6 if width <= 8 else 3
        if last.endswith(piece * times) and len(set(piece)) > 1:
            return len(text) - (times - 1) * width
    return None


RULES: tuple[tuple[str, Callable[[str, Situation], int | None]], ...] = (
    ("end_of_line", end_of_line),
    ("closing_bracket", closing_bracket),
    ("suffix_reached", suffix_reached),
    ("end_of_block", end_of_block),
    ("repetition", repetition),
)


def check(text: str, at: Situation) -> tuple[str, int] | None:
    """The first rule that ends the completion, and the length of the text to keep."""
    for reason, rule in RULES:
        if (cut := rule(text, at)) is not None:
            return reason, cut
    return None

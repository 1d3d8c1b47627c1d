"""Stop rules: when a completion is finished, asked after every token.

Each rule is one function of the text so far and the situation at the cursor; it answers with the length to which
the text is cut, or None. A rule ends generation, not only the text, and its name is the reason that users can ask
for. `RULES` is their order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

_CLOSERS = {")": "(", "]": "[", "}": "{"}
_LONGEST_PERIOD_LINES = 4
_LONGEST_PIECE = 32


@dataclass(frozen=True)
class Situation:
    """What the rules know of the cursor.

    `line` is the text before the cursor on its line; `next_line` the first line with content after the cursor
    (stripped), `rest_of_line` what follows on the cursor's own line.
    """

    line: str
    rest_of_line: str
    next_line: str
    single_line: bool
    max_lines: int

    @property
    def indentation(self) -> int:
        return len(self.line) - len(self.line.lstrip())

    @classmethod
    def at(cls, prefix: str, suffix: str, single_line: bool, max_lines: int) -> Situation:
        rest, _, after = suffix.partition("\n")
        following = (line.strip() for line in after.split("\n"))
        line = prefix.rpartition("\n")[2]
        return cls(line, rest, next((text for text in following if text), ""), single_line, max_lines)


def end_of_line(text: str, at: Situation) -> int | None:
    """One line was asked for. Line breaks before any content do not count where the line so far is blank."""
    if not at.single_line:
        return None
    start = len(text) - len(text.lstrip()) if not at.line.strip() else 0
    end = text.find("\n", start)
    return None if end < 0 else end


def closing_bracket(text: str, at: Situation) -> int | None:
    """A bracket closes that the completion did not open, and the rest of the line has that bracket already."""
    rest = at.rest_of_line.lstrip()
    if rest[:1] not in _CLOSERS:
        return None
    open_brackets = _unclosed(at.line)
    before = len(open_brackets)
    for i, character in enumerate(text):
        if character in _CLOSERS.values():
            open_brackets.append(character)
        elif character in _CLOSERS:
            ours = len(open_brackets) > before
            if open_brackets and open_brackets[-1] == _CLOSERS[character]:
                open_brackets.pop()
                before = min(before, len(open_brackets))
            if not ours and rest.startswith(character):
                return i  # the closing bracket is already there
    return None


def _unclosed(line: str) -> list[str]:
    stack: list[str] = []
    for character in line:
        if character in _CLOSERS.values():
            stack.append(character)
        elif character in _CLOSERS and stack and stack[-1] == _CLOSERS[character]:
            stack.pop()
    return stack


def end_of_block(text: str, at: Situation) -> int | None:
    """Enough lines, or a complete line whose indentation is below the cursor's."""
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
    """The completion has arrived at the next line of the file, or at the rest of the cursor's own line."""
    rest = at.rest_of_line.strip()
    if len(rest) > 1 and text.rstrip().endswith(rest):
        return text.rstrip().rindex(rest)
    lines = text.split("\n")
    if len(at.next_line) > 2:
        for i, line in enumerate(lines[1:-1], 1):
            if line.strip() == at.next_line:
                return len("\n".join(lines[:i]))
    return None


def repetition(text: str, at: Situation) -> int | None:
    """The last lines say the same again, or one short piece fills the line; cut before the repeat."""
    lines = text.split("\n")
    done = lines[:-1]
    for period in range(1, _LONGEST_PERIOD_LINES + 1):
        tail = done[-2 * period :]
        if len(tail) == 2 * period and tail[:period] == tail[period:] and any(line.strip() for line in tail):
            return len("\n".join(done[:-period]))
    last = lines[-1]
    for width in range(2, _LONGEST_PIECE + 1):
        piece, times = last[-width:], 6 if width <= 8 else 3
        if piece.strip() and last.endswith(piece * times):
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

"""What text means lexically: brackets, strings and comments, read from the left with a small state.

It is no grammar: where one is needed to tell a string (a regular expression after `/`, a lifetime, a character that is a quote), a
language has a pattern of its own.
Must not know: documents, cursors or models.
"""

from __future__ import annotations

import functools
import re
from typing import Final, NamedTuple

from green_code.languages import TABLE, Language

OPENERS: Final = "([{"
CLOSERS: Final = ")]}"
CLOSER_OF: Final = {"(": ")", "[": "]", "{": "}", "${": "}"}
_OPENERS_OF: Final = {")": ("(",), "]": ("[",), "}": ("{", "${")}

LINE_COMMENT: Final = "//"
"""`State.inside` in a comment that ends with its line, whatever begins it."""

_COMMENT_ENDS: Final = frozenset([LINE_COMMENT, *(end for language in TABLE for _, end in language.block_comments)])


class State(NamedTuple):
    """Where reading stands: the open brackets, and the quote or the end of the comment in which it is ("": in code).

    `faults` counts brackets that nothing opened or closed and strings that did not end.
    """

    open: tuple[str, ...] = ()
    inside: str = ""
    faults: int = 0

    @property
    def in_comment(self) -> bool:
        """Whether a comment ends later."""
        return self.inside in _COMMENT_ENDS

    @property
    def in_string(self) -> bool:
        """Whether a string ends later."""
        return bool(self.inside) and not self.in_comment

    def at_end(self) -> int:
        """Faults if the text ends here."""
        return self.faults + len(self.open) + (self.inside not in ("", LINE_COMMENT))


BEGINNING: Final = State()
"""Of a file."""


def is_word(character: str) -> bool:
    """Whether it belongs to a word; an empty string does not."""
    return character == "_" or character.isalnum()


def read(text: str, language: Language, state: State) -> State:
    """The state behind a text that is read in `state`. Lines end with \\n."""
    in_code, signs, comments = _signs(language, ""), _signs(language, "\n"), dict(language.block_comments)
    stack, inside, faults = list(state.open), state.inside, state.faults
    place = 0
    while sign := (signs if inside else in_code).search(text, place):
        written, place = sign.group(), sign.end()
        if sign.lastgroup and not inside:
            continue
        if inside:
            if written == inside:
                inside = ""
            elif written == "\n":
                if inside == LINE_COMMENT:
                    inside = ""
                elif inside in language.quotes and inside not in language.long_quotes:
                    inside, faults = "", faults + 1
            elif inside == "`" and written == "${":
                stack.append(written)
                inside = ""
            elif len(written) > 1 and not written.startswith("\\"):
                if written.startswith(inside) and inside != LINE_COMMENT:
                    place, inside = sign.start() + len(inside), ""
                else:
                    place = sign.start() + _looked_through(written, inside)
        elif written in language.line_comments:
            inside = LINE_COMMENT
        elif written in comments:
            inside = comments[written]
        elif written in language.long_quotes or written in language.quotes:
            inside = written
        elif written in OPENERS:
            stack.append(written)
        elif written == "${":
            stack.append("{")
        elif written in CLOSERS:
            inside, faults = _close(stack, written, faults)
    return State(tuple(stack), inside, faults)


def _looked_through(written: str, inside: str) -> int:
    """How much of a sign of several characters is passed inside a string or comment: up to what may end that."""
    found = written.find(inside, 1) if inside != LINE_COMMENT else -1
    return min((end for end in (found, written.find("\n", 1)) if end > 0), default=1)


def _close(stack: list[str], closer: str, faults: int) -> tuple[str, int]:
    """Close the innermost bracket of that kind; those inside it were never closed. A template goes on behind `${…}`."""
    for back in range(1, min(len(stack), 8) + 1):
        if (opener := stack[-back]) in _OPENERS_OF[closer]:
            del stack[-back:]
            return "`" if opener == "${" else "", faults + back - 1
    return "", faults + 1


@functools.lru_cache
def _signs(language: Language, line_end: str) -> re.Pattern[str]:
    """A pattern of what is read; `line_end` is empty in code, where it means nothing."""
    pairs = [sign for pair in language.block_comments for sign in pair]
    fixed = {*line_end, *language.line_comments, *pairs}
    if not language.prose:
        fixed |= {*language.long_quotes, *language.quotes, *OPENERS, *CLOSERS}
    if language.templates:
        fixed.add("${")
    signs = [r"\\[^\n]", *map(re.escape, sorted(fixed, key=len, reverse=True))]
    if language.literals:
        signs.insert(1, f"(?P<one>{language.literals})")
    return re.compile("|".join(signs))

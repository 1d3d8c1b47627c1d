"""The place of an insertion: the text around a cursor, and how it is read lexically.

Must not know: suggestions, the engine, or the protocol.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from green_code.languages import Language, language_of
from green_code.lexical import BEGINNING, CLOSERS, State, read
from green_code.lsp.documents import with_newlines

LOOKED_BACK: Final = 40_000
"""Characters before the cursor's line that are read at most, in 3 ms."""
LOOKED_AHEAD: Final = 12_000
"""Characters behind it."""
HEADERS_LOOKED_BACK: Final = 10_000
"""Lines in which the beginnings of blocks are sought, in 2 ms."""
NEAR: Final = 200
"""Lines around the cursor that say how the file is indented."""

_WORD_END: Final = re.compile(r"(?<!\w)\w+\Z")  # else a long word would be tried from each of its characters


@dataclass(frozen=True)
class Spot:
    """Code point `index` of line `line`; `automatic`: the editor sent the request by itself."""

    lines: Sequence[str]
    line: int
    index: int
    language_id: str
    automatic: bool

    @cached_property
    def language(self) -> Language:
        """What is known of the language."""
        return language_of(self.language_id)

    @cached_property
    def is_python(self) -> bool:
        """Whether blocks begin with a colon and end with their indentation."""
        return self.language_id == "python"

    @cached_property
    def has_braces(self) -> bool:
        """Whether braces enclose blocks."""
        return self.language.blocks == "braces"

    @cached_property
    def before(self) -> str:
        """The line up to the cursor."""
        return self.lines[self.line][: self.index]

    @cached_property
    def after(self) -> str:
        """The rest of the line, without its end."""
        return self.lines[self.line][self.index :].rstrip("\r\n")

    @cached_property
    def rest(self) -> str:
        """The rest of the line, without blanks at its end."""
        return self.after.rstrip()

    @cached_property
    def is_blank(self) -> bool:
        """Whether there is nothing before the cursor on its line."""
        return not self.before.strip()

    @cached_property
    def word(self) -> str:
        """The word that ends at the cursor."""
        found = _WORD_END.search(self.before)
        return found.group() if found else ""

    @cached_property
    def above(self) -> str:
        """The lines before the cursor's."""
        return self.lines_above(LOOKED_BACK, LOOKED_BACK)

    @cached_property
    def below(self) -> str:
        """The lines behind the cursor's, each with a line end before it."""
        return self.lines_below(LOOKED_AHEAD, LOOKED_AHEAD)

    def lines_above(self, characters: int, longest: int) -> str:
        """From `first_line` to the cursor's line."""
        return with_newlines("".join(self.lines[self.first_line(characters, longest) : self.line]))

    def first_line(self, characters: int, longest: int) -> int:
        """The file's first line, or one so many characters before the cursor's line at most that is likely to begin in code.

        Args:
            longest: characters of a line; it begins behind a longer one.
        """
        first, left = self.line, characters
        while first > 0 and len(self.lines[first - 1]) <= min(left, longest):
            first -= 1
            left -= len(self.lines[first])
        if first > 0:
            starts = (n for n in range(first, self.line) if self.lines[n][:1].strip() and not self.lines[n - 1].strip())
            opens = (n for n in range(first, self.line) if self.lines[n].lstrip()[:1] not in ("", *CLOSERS))
            return next(starts, next(opens, first))
        return first

    def headers(self, first: int) -> str:
        """The lines that begin the blocks in which line `first` stands, the outer ones first."""
        found, column = list[str](), len(indentation_of(self.lines[first]))
        for number in range(first - 1, max(-1, first - HEADERS_LOOKED_BACK), -1):
            if not column:
                break
            line = self.lines[number].rstrip()
            if line[:column].strip() and line.endswith(("{", ":")) and line.lstrip()[0] not in CLOSERS:
                found.append(f"{line}\n")
                column = len(indentation_of(line))
        return "".join(reversed(found))

    def lines_below(self, characters: int, longest: int) -> str:
        """So many characters behind the cursor's line at most, in whole lines, with the line end before them.

        Args:
            longest: characters of a line; it ends before a longer one.
        """
        last, left = self.line + 1, characters
        while last < len(self.lines) and len(self.lines[last]) <= min(left, longest):
            left -= len(self.lines[last])
            last += 1
        text = with_newlines("".join(self.lines[self.line + 1 : last]))
        return f"\n{text}" if self.line + 1 < len(self.lines) else ""

    @cached_property
    def line_state(self) -> State:
        """How the cursor's line begins; the faults above are no concern."""
        return read(self.above, self.language, BEGINNING)._replace(faults=0)

    @cached_property
    def state(self) -> State:
        """How the text at the cursor is read."""
        return read(self.before, self.language, self.line_state)

    @cached_property
    def in_code(self) -> bool:
        """Whether the cursor is in no string, comment or prose."""
        return not self.state.inside and not self.language.prose

    @cached_property
    def line_above(self) -> str:
        """The next line above with content."""
        return next((self.lines[n].rstrip() for n in range(self.line - 1, -1, -1) if self.lines[n].strip()), "")

    @cached_property
    def line_below(self) -> str:
        """The next line below with content."""
        below = range(self.line + 1, min(self.line + NEAR, len(self.lines)))
        return next((self.lines[n].rstrip() for n in below if self.lines[n].strip()), "")

    @cached_property
    def unit(self) -> str:
        """One step of the file's indentation: a tab or blanks; nothing where no line near the cursor is indented."""
        near = self.lines[max(0, self.line - NEAR) : self.line + NEAR]
        return indentation_unit(line for n, line in enumerate(near, max(0, self.line - NEAR)) if n != self.line)

    def known(self, beginning: str) -> set[str]:
        """The file's words that begin like this; the one at the cursor is none of them."""
        pattern = re.compile(rf"\b{re.escape(beginning)}\w*")
        before = self.above + self.before[: len(self.before) - len(self.word)]
        return {*pattern.findall(before), *pattern.findall(self.after + self.below)}


def indentation_of(line: str) -> str:
    """The white space with which a line begins."""
    return line[: len(line) - len(line.lstrip(" \t"))]


def columns(indentation: str, tab: int = 4) -> int:
    """The width of white space, where a tab goes to the next multiple of `tab`."""
    width = 0
    for character in indentation:
        width = (width // tab + 1) * tab if character == "\t" else width + 1
    return width


def indentation_unit(lines: Iterable[str]) -> str:
    """The most frequent step by which a line is indented more than the one above it."""
    steps: Counter[str] = Counter()
    previous = ""
    for line in lines:
        if not line.strip():
            continue
        indentation = indentation_of(line)
        step = indentation.removeprefix(previous)
        if step and len(step) + len(previous) == len(indentation) and step in ("\t", "  ", "    ", "        "):
            steps[step] += 1
        previous = indentation
    return steps.most_common(1)[0][0] if steps else ""

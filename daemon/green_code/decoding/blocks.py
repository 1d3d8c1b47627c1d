"""The cursor's block: which lines of a completion belong to it, from the text before the cursor.

A statement over several lines, in brackets or in a string, counts by its first line. Behind a function's signature or its docstring,
the block is the function's body.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from green_code.decoding.brackets import opened, read
from green_code.languages import Language
from green_code.lexical import OPENERS

_COMMENT_BEHIND_CODE = re.compile(r"\s(?:#|//|--).*$")


@dataclass(frozen=True)
class Block:
    """
    Args:
        indentation: a line that is indented less does not belong to the block; None: its first line decides.
        begun: the line in which the cursor's statement begins, without indentation; "" where none has begun.
        open: brackets that are open at the cursor, the outer ones first. together: how many of the last were opened in one line.
        outside: the indentation of that line, in which the bracket should be closed; None: no bracket is open.
        inside: what began the string or comment of the cursor (`brackets.Reading`).
    """

    indentation: int | None
    begun: str
    open: tuple[str, ...]
    together: int
    outside: int | None
    inside: str

    def continued(self, language: Language) -> tuple[str, ...]:
        """Of the open brackets, those in which a line break ends no statement."""
        blocks = [i for i, bracket in enumerate(self.open) if bracket == "{" and language.blocks == "braces"]
        return self.open[blocks[-1] + 1 :] if blocks else self.open


def block_at(prefix: str, language: Language) -> Block:
    """The block at the end of `prefix`, whose beginning may be cut off."""
    lines = prefix.split("\n")
    first = _reliable(lines, language)
    text = "\n".join(lines[first:])
    reading = read(text, language)
    left = opened(reading.brackets)
    numbers = [first + text.count("\n", 0, place) for place, _ in left]
    together = next((i for i, number in enumerate(reversed(numbers)) if number != numbers[-1]), len(numbers))
    outside = indentation_of(lines[numbers[-1]]) if numbers else None
    bare = Block(None, "", tuple(bracket for _, bracket in left), together, outside, reading.inside)
    continued = len(bare.continued(language))
    begins = numbers[-continued] if continued else len(lines) - 1
    statement = lines[begins]
    if not statement.strip():
        indentation = _on_blank_line(lines, language)
    else:
        indentation = indentation_of(statement)
        opens = not continued and language.blocks == "braces" and _code(lines[-1]).endswith("{")
        if opens or (is_definition(statement.strip() + " ", language) and not statement.strip().startswith("@")):
            indentation += 1
    return replace(bare, indentation=indentation, begun=statement.strip())


def indentation_of(line: str) -> int:
    """Characters of white space with which a line begins."""
    return len(line) - len(line.lstrip())


def is_definition(line: str, language: Language) -> bool:
    """Whether a line, without its indentation, begins a function or a class, or annotates one."""
    return language.definitions is not None and language.definitions.match(line) is not None


def _reliable(lines: list[str], language: Language) -> int:
    """The last line that begins a definition at the margin: it stands in code, wherever the text was cut off."""
    found = (i for i in range(len(lines) - 2, 0, -1) if lines[i][:1].strip() and is_definition(lines[i], language))
    return next(found, 0)


def _on_blank_line(lines: list[str], language: Language) -> int | None:
    width = len(lines[-1])
    above = next((i for i in range(len(lines) - 2, -1, -1) if lines[i].strip()), None)
    if above is None:
        return width or None
    if _code(lines[above]).endswith((*OPENERS, *([":"] if language.blocks == "indent" else []))):
        least = indentation_of(lines[above]) + 1
    elif (documented := _docstring(lines, above, language)) is not None:
        least = documented
    else:
        return width or None
    return max(width, least) if not width or width >= least else width


def _docstring(lines: list[str], last: int, language: Language) -> int | None:
    """The indentation of the docstring that ends in a line, if it stands behind a signature."""
    quote = next((q for q in language.long_quotes if len(q) == 3 and lines[last].rstrip().endswith(q)), None)
    if quote is None or language.blocks != "indent":
        return None
    start = last
    if lines[last].count(quote) == 1:
        start = next((i for i in range(last - 1, -1, -1) if quote in lines[i]), last)
    before = next((lines[i] for i in range(start - 1, -1, -1) if lines[i].strip()), "")
    return indentation_of(lines[start]) if _code(before).endswith(":") else None


def _code(line: str) -> str:
    """Without a comment behind it."""
    return _COMMENT_BEHIND_CODE.sub("", line).rstrip()

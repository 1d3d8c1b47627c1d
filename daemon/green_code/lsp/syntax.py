"""Whether a cursor is inside a comment or a string, by Pygments' lexers.

Only the text before the cursor is lexed, followed by everything that could close a comment or a string. So an unfinished
comment or string is one token around the cursor, and the text after the cursor has no influence. Lexing restarts at lines
that are known to begin in code, so a key costs a few milliseconds in a file of any length.
Must not know: settings. Pygments is imported at first use, because few users need it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Final, Literal

from green_code.lsp.documents import Edit, with_newlines

Kind = Literal["comment", "string"]

CHARACTERS_AT_MOST: Final = 30_000
"""Most that is lexed at once, in about 50 ms: when the cursor jumps far down in a file. A key costs `STEP` at most."""

STEP: Final = 4_000
"""Characters between two restart lines; a shorter file is always lexed from its beginning."""

_MARK: Final = "_"
"""Put at the cursor: a word in every language, and in none a string's prefix or an escape."""

_CLOSERS: Final = "\"\"\"'''`*/-->*)-}]]\n=end\n"
"""They close any string or block comment that is open at the cursor."""

_ALIASES: Final = {
    "cuda-cpp": "cuda",
    "javascriptreact": "javascript",
    "jsonc": "json",
    "objective-cpp": "objective-c++",
    "shellscript": "bash",
    "typescriptreact": "tsx",
    "vb": "vbnet",
    "vue-html": "html",
    "xsl": "xslt",
}
"""Pygments' names of languages where the editor's name is another."""


class Syntax:
    """The lines of one document that are known to begin in code."""

    def __init__(self) -> None:
        self._in_code = {0}

    def follow(self, edit: Edit) -> None:
        """Forget the lines below the first line of an edit."""
        self._in_code = {number for number in self._in_code if number <= edit.first}

    def forget(self) -> None:
        """The whole text was replaced."""
        self._in_code = {0}

    def kind_at(self, language: str, lines: Sequence[str], line: int, index: int) -> Kind | None:
        """What encloses code point `index` of line `line`; None: code, or a language that Pygments lacks."""
        if (lexer := _lexer(language)) is None:
            return None
        start = max(number for number in self._in_code if number <= line)
        nearer = _likely_code(lines, start, line, index)
        before = with_newlines("".join([*lines[nearer:line], lines[line][:index]]))
        number, next_step = nearer, STEP if nearer == start else 0
        for offset, token, text in lexer.get_tokens_unprocessed(before + _MARK + _CLOSERS):
            kind = _kind(token)
            if offset + len(text) > len(before):
                return kind
            if not (breaks := text.count("\n")):
                continue
            number += breaks
            if kind is None and offset >= next_step:
                self._in_code.add(number)
                next_step = offset + STEP
        return None


def _kind(token: Any) -> Kind | None:
    from pygments.token import Comment, String

    if token in Comment and token not in Comment.Preproc and token not in Comment.PreprocFile:
        return "comment"
    # VS Code counts a regular expression as code, too.
    return "string" if token in String and token not in String.Regex else None


@functools.lru_cache
def _lexer(language: str) -> Any:
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        return get_lexer_by_name(_ALIASES.get(language, language))
    except ClassNotFound:
        return None


def _likely_code(lines: Sequence[str], start: int, line: int, index: int) -> int:
    """`start`, or if that is too far from the cursor, a line that is likely to begin in code.

    It is the least indented line in the further half of what may be lexed, preferably one after a blank line: definitions
    are there, while the lines of a long comment or string are mostly indented or adjacent. A wrong choice only lets a
    suggestion appear, or not appear, against the setting.
    """
    first, left = line, CHARACTERS_AT_MOST - index
    while first > start and len(lines[first - 1]) <= left:
        first -= 1
        left -= len(lines[first])
    if first == start:
        return start
    further = [number for number in range(first, (first + line) // 2 + 1) if lines[number].strip()]

    def unlikeliness(number: int) -> tuple[int, bool]:
        text = lines[number]
        return len(text) - len(text.lstrip()), bool(lines[number - 1].strip())

    return min(further, key=unlikeliness, default=first)

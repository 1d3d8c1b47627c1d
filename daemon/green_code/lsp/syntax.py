"""Whether a cursor is inside a comment or a string, by Pygments' lexers.

Only the text before the cursor is lexed, with whatever closes a comment or a string put behind it: what is open at the
cursor is then a whole token that the cursor is in, also while it is still being typed, and what comes after the cursor
cannot mislead. Lexing goes on from lines that are known to begin in code, so that a key costs a few milliseconds in a
file of any length.
Must not know: settings, or what is made of the answer. Pygments is imported at first use: few need it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Final, Literal

from green_code.lsp.documents import Edit

Kind = Literal["comment", "string"]

CHARACTERS_AT_MOST: Final = 30_000
"""That are lexed at once, some 50 ms, as when the cursor is put far down into a file; a key costs `STEP` at most."""

STEP: Final = 4_000
"""Characters between two lines that lexing goes on from; a shorter file is always lexed from its beginning."""

_MARK: Final = "_"
"""Stands at the cursor: a word in every language, and no string's prefix or escape in any."""

_CLOSERS: Final = "\"\"\"'''`*/-->*)-}]]\n=end\n"
"""Of strings and block comments. They close what is open at the cursor, and open nothing before it."""

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
"""Pygments' names of the editor's languages, where it does not know theirs."""


class Syntax:
    """What is known of one document from one request to the next: lines that begin in code."""

    def __init__(self) -> None:
        self._in_code = {0}

    def follow(self, edit: Edit) -> None:
        """Forget the lines below an edit; where it begins, nothing has changed yet."""
        self._in_code = {number for number in self._in_code if number <= edit.first}

    def forget(self) -> None:
        """The whole text was replaced."""
        self._in_code = {0}

    def kind_at(self, language: str, lines: Sequence[str], line: int, index: int) -> Kind | None:
        """What code point `index` of line `line` is inside of; None: code, or a language that Pygments does not have."""
        if (lexer := _lexer(language)) is None:
            return None
        start = max(number for number in self._in_code if number <= line)
        nearer = _likely_code(lines, start, line, index)
        before = "".join([*lines[nearer:line], lines[line][:index]]).replace("\r\n", "\n").replace("\r", "\n")
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
    # A regular expression is code to write, as VS Code's own classes of tokens have it.
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
    """`start`, or where that is too far from the cursor, a line that is likely to begin in code.

    That is the least indented line of the further half of what may be lexed, one after a blank line before another one.
    Definitions stand there, while the lines of a comment or string that goes over several are mostly further in or
    follow one another. Where it is wrong all the same, suggestions come or stay away wrongly thereabouts: no more than
    that is at stake.
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

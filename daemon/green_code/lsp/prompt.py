"""The prompt window: the part of a document that the model reads.

The window starts at the beginning of a line, the anchor. The anchor moves only if the window would exceed its limit or
has become very short; it then moves to half the limit before the cursor. So typing extends the prompt and does not shift
it, and the engine can reuse its KV cache between keystrokes. The cost does not grow with the file.
Must not know: tokens (the engine counts them), settings, or the protocol.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from green_code.lsp.documents import Edit, with_newlines

CHARACTERS_PER_TOKEN: Final = 6
"""More than the 3 to 4 characters per token of code; the engine cuts at max_prompt_tokens itself."""

SUFFIX_CHARACTERS: Final = 2000


@dataclass(frozen=True)
class Prompt:
    """Text before and after the cursor, with \\n as the only line end."""

    prefix: str
    suffix: str


class PromptWindow:
    """One document's window; its anchor persists between requests."""

    def __init__(self) -> None:
        self._anchor: int | None = None
        self.moves = 0
        """How often the window began anew elsewhere."""

    def follow(self, edit: Edit) -> None:
        """Keep the anchor on its line when lines above it are added or removed."""
        if self._anchor is None or edit.first > self._anchor:
            return
        if edit.last < self._anchor:
            self._anchor += edit.added
        elif edit.first < self._anchor:
            self._anchor = None  # the anchor's own line was part of the edit

    def forget(self) -> None:
        """The whole text was replaced."""
        self._anchor = None

    def prompt(self, lines: Sequence[str], line: int, index: int, max_prompt_tokens: int) -> Prompt:
        """The prompt for a cursor at code point `index` of line `line`."""
        cap = max_prompt_tokens * CHARACTERS_PER_TOKEN
        head = _cut_line(lines[line][:index], cap)
        if len(head) < index:
            self._anchor = None
            return Prompt(with_newlines(head), suffix_of(lines, line, index))
        first = _first_line(lines, line, cap - index)
        anchor = self._anchor
        if anchor is None or not first <= anchor <= line or _is_short(lines, anchor, line, cap // 4 - index):
            anchor = 0 if first == 0 else _first_line(lines, line, cap // 2 - index)
            self._anchor = anchor
            self.moves += 1
        return Prompt(with_newlines("".join(lines[anchor:line]) + head), suffix_of(lines, line, index))


def _first_line(lines: Sequence[str], line: int, characters: int) -> int:
    """The first line of the longest window of at most `characters` before `line`."""
    first = line
    while first > 0 and len(lines[first - 1]) <= characters:
        first -= 1
        characters -= len(lines[first])
    return first


def _is_short(lines: Sequence[str], anchor: int, line: int, characters: int) -> bool:
    """Whether a window could begin before its anchor and has fewer than `characters` before `line`."""
    return anchor > 0 and sum(map(len, lines[anchor:line])) < characters


def _cut_line(head: str, cap: int) -> str:
    """The cursor's line up to the cursor; if it is too long, its start moves in steps of half the limit."""
    if len(head) <= cap:
        return head
    step = max(1, cap // 2)
    start = (len(head) - 1) // step * step - step
    while start < len(head) and _continues(head, start):
        start += 1
    return head[start:]


def _continues(text: str, index: int) -> bool:
    """Whether a cut before `index` would separate a character from its combining marks."""
    joiner = "\u200d"
    character = text[index]
    return index > 0 and (
        unicodedata.combining(character) != 0
        or unicodedata.category(character) in ("Mn", "Me", "Mc")
        or character == joiner
        or text[index - 1] == joiner
    )


def suffix_of(lines: Sequence[str], line: int, index: int) -> str:
    """The text after the cursor, 2,000 characters at most."""
    parts = [lines[line][index:]]
    length = len(parts[0])
    for number in range(line + 1, len(lines)):
        if length >= SUFFIX_CHARACTERS:
            break
        parts.append(lines[number])
        length += len(lines[number])
    return with_newlines("".join(parts)[:SUFFIX_CHARACTERS])

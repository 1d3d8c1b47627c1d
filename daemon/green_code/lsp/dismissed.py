"""Dismissed: what the user has rejected on a line is not offered there again, until the cursor leaves the line.

A suggestion is rejected by Escape, or by going on otherwise after it could be read. After Escape, the same text is recognised
anywhere on the line, also where its beginning is typed after all. Somebody who went on otherwise and deletes that again has
corrected a typing error, and gets it again.
Must not know: documents, or how a suggestion is shown.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from green_code.lsp.documents import Edit

LEAST_CHARACTERS: Final = 4
"""A shorter text that the user typed past, such as a colon, may be right further on."""


class _Rejected(NamedTuple):
    before: str
    text: str
    by_hand: bool

    def is_again(self, before: str, text: str) -> bool:
        """Whether this text is the rejected one. After Escape also where it makes the same line, as far as the shorter one goes."""
        is_same = self.text.strip() == text.strip()
        if not self.by_hand:
            return is_same and len(before) > len(self.before)
        line, rejected = before + text, self.before + self.text
        return is_same or (len(before) < len(rejected) and (line.startswith(rejected) or rejected.startswith(line)))


class Dismissed:
    """The rejected texts of one window's current line."""

    def __init__(self) -> None:
        self._line = "", -1
        self._rejected: list[_Rejected] = []

    def add(self, uri: str, line: int, before: str, text: str, by_hand: bool) -> None:
        """A text was rejected behind the line's beginning `before`.

        Args:
            by_hand: by Escape; else by going on otherwise.
        """
        if by_hand or len(text.strip()) >= LEAST_CHARACTERS:
            self._enter(uri, line)
            self._rejected.append(_Rejected(before, text, by_hand))

    def has(self, uri: str, line: int, before: str, text: str) -> bool:
        """Whether this text was rejected on its line, and the cursor has not left the line since."""
        self._enter(uri, line)
        return any(rejected.is_again(before, text) for rejected in self._rejected)

    def follow(self, uri: str, edit: Edit) -> None:
        """Lines were added or removed; one that is cut in two or joined with another is a new one."""
        document, line = self._line
        if uri == document and edit.last < line:
            self._line = document, line + edit.added
        elif uri == document and edit.first <= line and edit.added:
            self._rejected.clear()

    def _enter(self, uri: str, line: int) -> None:
        if self._line != (uri, line):
            self._line = uri, line
            self._rejected.clear()

"""Notebooks: a cell is completed as a part of its notebook, whose other cells are its context.

All cells of one language make one text in their order, with a blank line between two. They share a prompt window and a session of
the engine, so the KV cache stays when the cursor goes to another cell.
Must not know: the protocol, or what is in a prompt besides text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from green_code.lsp.documents import Document, Edit
from green_code.lsp.prompt import PromptWindow


class Notebook:
    """One open notebook.

    Args:
        document: an open document; None if it is not open.
    """

    def __init__(self, uri: str, document: Callable[[str], Document | None]) -> None:
        self.uri = uri
        self.window = PromptWindow()
        self._document = document
        self._cells: list[str] = []

    def splice(self, start: int, count: int, cells: Sequence[str]) -> list[str]:
        """`count` cells from `start` on are replaced by these, which may be of any kind; returns the replaced ones."""
        replaced = self._cells[start : start + count]
        self._cells[start : start + count] = cells
        self.window.forget()
        return replaced

    def around(self, cell: Document, lines: Sequence[str], line: int) -> tuple[list[str], int]:
        """The text of all cells, with these lines as the cell's, and where the cell's line is in it."""
        before, after = self._before(cell), list[str]()
        for document in self._others(self._cells[self._index(cell) + 1 :], cell):
            after += ["\n", *document.lines[:-1], _ended(document.lines[-1])]
        whole = [*before, *lines[:-1], _ended(lines[-1]) if after else lines[-1], *after]
        return whole, len(before) + line

    def follow(self, cell: Document, edit: Edit) -> None:
        """A cell was edited."""
        offset = len(self._before(cell))
        self.window.follow(Edit(edit.first + offset, edit.last + offset, edit.lines))

    def _before(self, cell: Document) -> list[str]:
        lines = list[str]()
        for document in self._others(self._cells[: self._index(cell)], cell):
            lines += [*document.lines[:-1], _ended(document.lines[-1]), "\n"]
        return lines

    def _others(self, cells: Sequence[str], cell: Document) -> list[Document]:
        found = [document for uri in cells if (document := self._document(uri)) is not None]
        return [document for document in found if document.language == cell.language and document.characters]

    def _index(self, cell: Document) -> int:
        return self._cells.index(cell.uri)


def _ended(line: str) -> str:
    return line if line.endswith(("\n", "\r")) else line + "\n"

"""The open documents and notebooks of one window.

Must not know: requests, or the protocol.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from green_code.lsp.documents import Document
from green_code.lsp.notebooks import Notebook
from green_code.lsp.open_document import OpenDocument


class OpenDocuments:
    """By URI. A notebook's cells are documents."""

    def __init__(self) -> None:
        self._entries: dict[str, OpenDocument] = {}
        self._notebooks: dict[str, Notebook] = {}

    def __iter__(self) -> Iterator[OpenDocument]:
        return iter(self._entries.values())

    def get(self, uri: str) -> OpenDocument | None:
        """None if it is not open."""
        return self._entries.get(uri)

    def lines_of(self, uri: str) -> list[str] | None:
        """The lines of a document; None if it is not open."""
        return entry.document.lines if (entry := self._entries.get(uri)) is not None else None

    def open(self, document: Document) -> None:
        """A document was opened."""
        self._entries[document.uri] = OpenDocument(document)

    def close(self, uri: str) -> None:
        """A document was closed."""
        self._entries.pop(uri, None)

    def open_notebook(self, uri: str, cells: Sequence[str]) -> None:
        """A notebook was opened; its cells' documents are open."""
        self._notebooks[uri] = Notebook(uri, self._document)
        self.change_cells(uri, 0, 0, cells)

    def change_cells(self, uri: str, start: int, count: int, cells: Sequence[str]) -> None:
        """`count` of a notebook's cells from `start` on were replaced; the documents of the new ones are open."""
        if (notebook := self._notebooks.get(uri)) is not None:
            for entry in filter(None, map(self._entries.get, notebook.splice(start, count, cells))):
                entry.notebook = None  # its document may stay open
            for entry in filter(None, map(self._entries.get, cells)):
                entry.notebook = notebook

    def close_notebook(self, uri: str) -> None:
        """A notebook was closed."""
        self._notebooks.pop(uri, None)

    def _document(self, uri: str) -> Document | None:
        return entry.document if (entry := self._entries.get(uri)) is not None else None

"""Document synchronisation of the language server: the editor's documents, notebooks and folders, in the front.

It replaces pygls's own handlers by the front's documents (see documents.py).
Must not know: requests, or the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote

from lsprotocol import types
from pygls.protocol import LanguageServerProtocol, lsp_method

from green_code.lsp.documents import Span, uri_path
from green_code.lsp.front import Front


class DocumentSync(LanguageServerProtocol):
    """pygls's protocol with the front's documents."""

    # No property: pygls reads all of them when it is made, when no loop runs for the front yet.
    def front(self) -> Front:
        """The front of the server that speaks this protocol."""
        raise NotImplementedError

    @lsp_method(types.TEXT_DOCUMENT_DID_OPEN)
    def lsp_text_document__did_open(self, params: types.DidOpenTextDocumentParams) -> None:
        """Open the document in the front."""
        item = params.text_document
        self.front().open(item.uri, item.language_id, item.text)

    @lsp_method(types.TEXT_DOCUMENT_DID_CHANGE)
    def lsp_text_document__did_change(self, params: types.DidChangeTextDocumentParams) -> None:
        """Apply the edits in their order."""
        self._apply(params.text_document.uri, params.content_changes)

    def _apply(self, uri: str, changes: Sequence[types.TextDocumentContentChangeEvent]) -> None:
        for change in changes:
            span = None
            if isinstance(change, types.TextDocumentContentChangePartial):
                start, end = change.range.start, change.range.end
                span = Span(start.line, start.character, end.line, end.character)
            self.front().change(uri, span, change.text)

    @lsp_method(types.TEXT_DOCUMENT_DID_CLOSE)
    def lsp_text_document__did_close(self, params: types.DidCloseTextDocumentParams) -> None:
        """Close the document in the front."""
        self.front().close_document(params.text_document.uri)

    @lsp_method(types.NOTEBOOK_DOCUMENT_DID_OPEN)
    def lsp_notebook_document__did_open(self, params: types.DidOpenNotebookDocumentParams) -> None:
        """Open the cells and the notebook in the front."""
        self._open_cells(params.cell_text_documents)
        notebook = params.notebook_document
        self.front().documents.open_notebook(notebook.uri, [cell.document for cell in notebook.cells])

    @lsp_method(types.NOTEBOOK_DOCUMENT_DID_CHANGE)
    def lsp_notebook_document__did_change(self, params: types.DidChangeNotebookDocumentParams) -> None:
        """Apply changes of the cells' order, then those of their texts."""
        if (changes := params.change.cells) is None:
            return
        if (structure := changes.structure) is not None:
            for closed in structure.did_close or ():  # first: a cell whose language changed is closed and opened
                self.front().close_document(closed.uri)
            self._open_cells(structure.did_open or ())
            array = structure.array
            cells = [cell.document for cell in array.cells or ()]
            self.front().documents.change_cells(params.notebook_document.uri, array.start, array.delete_count, cells)
        for content in changes.text_content or ():
            self._apply(content.document.uri, content.changes)

    @lsp_method(types.NOTEBOOK_DOCUMENT_DID_CLOSE)
    def lsp_notebook_document__did_close(self, params: types.DidCloseNotebookDocumentParams) -> None:
        """Close the cells and the notebook in the front."""
        for cell in params.cell_text_documents:
            self.front().close_document(cell.uri)
        self.front().documents.close_notebook(params.notebook_document.uri)

    def _open_cells(self, cells: Sequence[types.TextDocumentItem]) -> None:
        for cell in cells:
            self.front().open(cell.uri, cell.language_id, cell.text)

    @lsp_method(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)
    def lsp_workspace__did_change_workspace_folders(self, params: types.DidChangeWorkspaceFoldersParams) -> None:
        """Follow the folders, for excludedFiles."""
        folders = self.front().workspace_folders
        for folder in params.event.removed:
            if (path := folder_path(folder.uri)) in folders:
                folders.remove(path)
        folders.extend(folder_path(folder.uri) for folder in params.event.added)


def folder_path(uri: str) -> str:
    """The path of a workspace folder."""
    return unquote(uri_path(uri))

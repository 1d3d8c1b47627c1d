"""The selected entry of the editor's own list: a suggestion beside it begins with the entry's text.

VS Code shows an inline suggestion beside its list only where it extends the selected entry. So the document is completed as it
would be with the entry.
Must not know: suggestions, or when an editor shows its list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from green_code.lsp.documents import Document, Span

SETTLED_SECONDS: Final = 0.2
"""The engine is asked for an entry that is still selected after so long: arrow keys through the list cost nothing."""


@dataclass(frozen=True)
class SelectedEntry:
    """`text` would take the place of `span`, which is in the client's units."""

    text: str
    span: Span

    def inserted(self, document: Document, line: int, index: int) -> tuple[list[str], int] | None:
        """The document's lines with the entry, and the cursor's place behind it; None if it is not on the cursor's line, or has
        several."""
        first, start = document.locate(self.span.start_line, self.span.start_units)
        last, end = document.locate(self.span.end_line, self.span.end_units)
        if not first == last == line or not start <= index <= end or "\n" in self.text or "\r" in self.text:
            return None
        lines = document.lines.copy()
        lines[line] = lines[line][:start] + self.text + lines[line][end:]
        return lines, start + len(self.text)

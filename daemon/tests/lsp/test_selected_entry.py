"""A suggestion beside the editor's own list goes on behind the selected entry."""

from __future__ import annotations

import pytest

from green_code.lsp.documents import Document, Span
from green_code.lsp.selected_entry import SelectedEntry


@pytest.mark.parametrize(
    ("text", "entry", "span", "at", "expected"),
    [
        ("items.ap\n", "append", (6, 8), 8, ("items.append\n", 12)),
        ("x = '😀'.lo()", "lower", (9, 11), 10, ("x = '😀'.lower()", 13)),
        ("foo.gN + 1", "getName", (4, 6), 5, ("foo.getName + 1", 11)),
        ("x.", "items", (2, 2), 2, ("x.items", 7)),
    ],
)
def test_the_entry_is_inserted(
    text: str, entry: str, span: tuple[int, int], at: int, expected: tuple[str, int]
) -> None:
    document = Document("file:///a.py", "python", "first\n" + text, "utf-16")
    found = SelectedEntry(entry, Span(1, span[0], 1, span[1])).inserted(document, 1, at)
    assert found is not None
    assert (found[0][1], found[1]) == expected
    assert document.lines[1] == text, "the document stays as it is"


@pytest.mark.parametrize(
    ("entry", "span"),
    [
        ("for x in y:\n    pass", Span(1, 0, 1, 1)),
        ("a", Span(0, 0, 1, 1)),
        ("a", Span(1, 3, 1, 4)),
        ("a", Span(0, 0, 0, 1)),
    ],
)
def test_no_suggestion_goes_on_behind_several_lines_or_away_from_the_cursor(entry: str, span: Span) -> None:
    document = Document("file:///a.py", "python", "first\nabcdef\n", "utf-16")
    assert SelectedEntry(entry, span).inserted(document, 1, 1) is None

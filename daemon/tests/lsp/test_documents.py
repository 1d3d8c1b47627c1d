"""Documents against a naive reference: offsets in a flat string, as LSP describes them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from green_code.lsp.documents import Document, Encoding, Span, split_lines, units_to_index

TEXTS = st.text(alphabet=["a", "é", "😀", "\u0301", "\n", "\r", "\f", "\u2028", "\0", " "], max_size=30)
ENCODINGS: list[Encoding] = ["utf-8", "utf-16", "utf-32"]


def width(text: str, encoding: Encoding) -> int:
    codec, size = {"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2), "utf-32": ("utf-32-le", 4)}[encoding]
    return len(text.encode(codec)) // size


def reference_offset(text: str, line: int, units: int, encoding: Encoding) -> int:
    """The offset of a position: to the line, then characters while they fit, never past its end."""
    starts = [0, *(match.end() for match in re.finditer(r"\r\n|\n|\r", text))]
    if line >= len(starts):
        return len(text)
    offset = starts[line]
    while offset < len(text) and text[offset] not in "\r\n":
        size = width(text[offset], encoding)
        if size > units:
            break
        units -= size
        offset += 1
    return offset


@given(TEXTS)
def test_lines_join_to_the_text_and_end_where_lsp_ends_them(text: str) -> None:
    lines = split_lines(text)
    assert "".join(lines) == text
    assert len(lines) == len(re.findall(r"\r\n|\n|\r", text)) + 1


@given(
    TEXTS,
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9), st.integers(0, 6), st.integers(0, 9), TEXTS), max_size=6),
    st.sampled_from(ENCODINGS),
)
def test_edits_do_to_the_lines_what_they_do_to_a_string(
    text: str, edits: list[tuple[int, int, int, int, str]], encoding: Encoding
) -> None:
    document = Document("file:///a.py", "python", text, encoding)
    for start_line, start_units, end_line, end_units, new in edits:
        start = reference_offset(text, start_line, start_units, encoding)
        end = reference_offset(text, end_line, end_units, encoding)
        start, end = min(start, end), max(start, end)
        text = text[:start] + new + text[end:]
        before = len(document.lines)
        edit = document.apply(Span(start_line, start_units, end_line, end_units), new)
        assert "".join(document.lines) == text
        assert document.lines == split_lines(text)
        assert document.characters == len(text) and document.nul_characters == text.count("\0")
        assert before - (edit.last - edit.first + 1) + edit.lines == len(document.lines)


@given(TEXTS, st.sampled_from(ENCODINGS), st.data())
def test_columns_there_and_back(line: str, encoding: Encoding, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(line)))
    assert units_to_index(line, width(line[:index], encoding), encoding) == index


@pytest.mark.parametrize(
    ("line", "units", "index"),
    [
        ('x = "😀"', 7, 6),  # behind the emoji, two UTF-16 units wide
        ('x = "😀"', 6, 5),  # inside the pair: before it
        ("e\u0301 = 1", 2, 2),  # a combining accent is a unit of its own
        ("abc", 99, 3),
        ("👩\u200d🔬!", 5, 3),
    ],
)
def test_utf16_columns(line: str, units: int, index: int) -> None:
    assert units_to_index(line, units, "utf-16") == index


def test_paths_are_unescaped() -> None:
    assert Document("file:///home/a%20b/%C3%A9.py", "python", "", "utf-16").path == "/home/a b/é.py"
    assert Document("untitled:Untitled-1", "python", "", "utf-16").path == "Untitled-1"

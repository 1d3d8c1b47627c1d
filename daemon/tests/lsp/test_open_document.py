"""The gate sees in the front what it saw in training, where the whole text is at hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from green_code.lsp.documents import Document, with_newlines
from green_code.lsp.gate_features import LOOKED_BACK, History, Place, features
from green_code.lsp.open_document import OpenDocument
from green_code.settings import default_settings

LINES = st.lists(st.text("ab ({:.\t'#é😀", max_size=12), min_size=1, max_size=12)


@given(LINES, st.sampled_from(["\n", "\r\n", "\r"]), st.data())
def test_the_gate_sees_the_text(lines: list[str], end: str, data: st.DataObject) -> None:
    line = data.draw(st.integers(0, len(lines) - 1))
    index = data.draw(st.integers(0, len(lines[line])))
    document = Document("file:///a.py", "python", end.join(lines), "utf-32")
    opened = OpenDocument(document)
    params = opened.params(document.lines, line, index, default_settings(), automatic=True)
    place = opened.place(document.lines, line, index, params["suffix"], 0.5, History())
    text, before = "\n".join(lines), "\n".join([*lines[:line], lines[line][:index]])
    assert place.prefix == before
    assert features(place) == features(Place("python", before, text[len(before) :], line, len(lines), 0.5))


def test_of_a_large_file_only_the_end_is_read() -> None:
    document = Document("file:///a.py", "python", "x = 1\r\n" * 100_000, "utf-32")
    prefix = OpenDocument(document).place(document.lines, 99_999, 3, "", 0.5, History()).prefix
    assert LOOKED_BACK * 0.8 < len(prefix) < LOOKED_BACK * 1.2
    assert prefix.endswith(with_newlines("x = 1\r\nx ="))

"""Retention: text that stays counts, also where lines moved; deleted or changed text does not."""

from __future__ import annotations

import asyncio

import pytest

from green_code.lsp import retention
from green_code.lsp.documents import Document, Span
from green_code.lsp.retention import RetentionWatch

URI = "file:///a.py"


class Window:
    """A document with one suggestion, accepted."""

    def __init__(self, text: str) -> None:
        self.document: Document | None = Document(URI, "python", text, "utf-16")
        self.retained: list[str] = []
        self.watch = RetentionWatch(lambda uri: self.document.lines if self.document else None, self.retained.append)

    def edit(self, span: Span, text: str) -> None:
        assert self.document is not None
        self.watch.follow(URI, self.document.apply(span, text))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "RETAINED_SECONDS", 0.01)


@pytest.mark.asyncio
@pytest.mark.parametrize("end", ["\n", "\r\n"])
async def test_text_that_stays_is_retained_also_far_below_its_old_line(end: str) -> None:
    text = "return x\n    + 1"
    window = Window(end.join(["def f(x):", "    " + text.replace("\n", end), ""]))
    window.watch.accept("a", URI, 1, "    " + text)
    window.edit(Span(0, 0, 0, 0), f"import os{end}" * 50)
    await asyncio.sleep(0.05)
    assert window.retained == ["a"]


@pytest.mark.asyncio
async def test_text_that_was_changed_is_not_retained() -> None:
    window = Window("x = first()\ny = second()\n")
    window.watch.accept("a", URI, 0, "x = first()")
    window.edit(Span(0, 4, 0, 9), "other")
    await asyncio.sleep(0.05)
    assert window.retained == []


@pytest.mark.asyncio
async def test_a_bracket_is_that_bracket_and_not_any() -> None:
    window = Window("print(x\nf(y)\n")
    window.watch.accept("a", URI, 0, "print(x)")  # and what it gave was taken back at once
    await asyncio.sleep(0.05)
    assert window.retained == []


@pytest.mark.asyncio
async def test_the_same_text_far_away_is_another() -> None:
    window = Window("x\n" * 40 + "call()\n")
    window.watch.accept("a", URI, 0, "call()")
    await asyncio.sleep(0.05)
    assert window.retained == []


@pytest.mark.asyncio
async def test_of_a_closed_document_or_window_nothing_is_known() -> None:
    window = Window("x = call()\n")
    window.watch.accept("a", URI, 0, "call()")
    window.document = None
    await asyncio.sleep(0.05)
    assert window.retained == []
    again = Window("x = call()\n")
    again.watch.accept("a", URI, 0, "x = call()")
    again.watch.close()
    await asyncio.sleep(0.05)
    assert again.retained == []


@pytest.mark.asyncio
async def test_of_words_that_are_accepted_one_by_one_the_last_counts() -> None:
    window = Window("x = first second third\n")
    window.watch.accept("a", URI, 0, "x = first")
    window.watch.accept("a", URI, 0, "x = first second other")
    await asyncio.sleep(0.05)
    assert window.retained == []

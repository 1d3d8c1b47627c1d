"""Kept after half a minute: what stays counts, also where lines moved; what was deleted or changed does not."""

from __future__ import annotations

import asyncio

import pytest

from green_code.lsp import retention
from green_code.lsp.documents import Document, Span
from green_code.lsp.retention import REMEMBERED, KeptWatch

URI = "file:///a.py"


class Desk:
    """A document with one suggestion, accepted."""

    def __init__(self, text: str) -> None:
        self.document: Document | None = Document(URI, "python", text, "utf-16")
        self.told: list[str] = []
        self.watch = KeptWatch(lambda uri: self.document.lines if self.document else None, self.told.append)

    def edit(self, span: Span, text: str) -> None:
        assert self.document is not None
        self.watch.follow(URI, self.document.apply(span, text))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "KEPT_SECONDS", 0.01)


@pytest.mark.asyncio
@pytest.mark.parametrize("end", ["\n", "\r\n"])
async def test_what_stays_is_kept_also_far_below_its_old_line(end: str) -> None:
    text = "return x\n    + 1"
    desk = Desk(end.join(["def f(x):", "    " + text.replace("\n", end), ""]))
    desk.watch.give("a", URI, 1, "    ", text)
    desk.watch.accept("a")
    desk.edit(Span(0, 0, 0, 0), f"import os{end}" * 50)
    await asyncio.sleep(0.05)
    assert desk.told == ["a"]


@pytest.mark.asyncio
async def test_what_was_changed_deleted_or_never_accepted_is_not_kept() -> None:
    desk = Desk("x = first()\ny = second()\n")
    desk.watch.give("a", URI, 0, "x = ", "first()")
    desk.watch.give("b", URI, 1, "y = ", "second()")
    desk.watch.accept("a")
    desk.edit(Span(0, 4, 0, 9), "other")
    await asyncio.sleep(0.05)
    assert desk.told == []


@pytest.mark.asyncio
async def test_a_bracket_is_that_bracket_and_not_any() -> None:
    desk = Desk("print(x\nf(y)\n")
    desk.watch.give("a", URI, 0, "print(x", ")")
    desk.watch.accept("a")  # and what it gave was taken back at once
    await asyncio.sleep(0.05)
    assert desk.told == []


@pytest.mark.asyncio
async def test_the_same_text_far_away_is_another() -> None:
    desk = Desk("x\n" * 40 + "call()\n")
    desk.watch.give("a", URI, 0, "", "call()")
    desk.watch.accept("a")
    await asyncio.sleep(0.05)
    assert desk.told == []


@pytest.mark.asyncio
async def test_of_a_closed_document_or_window_nothing_is_known() -> None:
    desk = Desk("x = call()\n")
    desk.watch.give("a", URI, 0, "", "call()")
    desk.watch.accept("a")
    desk.document = None
    await asyncio.sleep(0.05)
    assert desk.told == []
    again = Desk("x = call()\n")
    again.watch.give("a", URI, 0, "x = ", "call()")
    again.watch.accept("a")
    again.watch.close()
    await asyncio.sleep(0.05)
    assert again.told == []


def test_memory_is_bounded() -> None:
    desk = Desk("x\n")
    for n in range(3 * REMEMBERED):
        desk.watch.give(str(n), URI, 0, "", "x")
    assert len(desk.watch._given) == REMEMBERED

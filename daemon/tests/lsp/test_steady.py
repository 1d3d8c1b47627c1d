"""What is shown does not flicker: nothing takes a visible suggestion's place, and an unsure one waits for a pause."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from green_code.lsp import front as front_module
from green_code.lsp import selected_entry
from green_code.lsp.debounce import LONGEST_SECONDS
from green_code.lsp.documents import Span
from green_code.lsp.selected_entry import SelectedEntry
from tests.lsp.front_window import URI, Window, result

pytestmark = pytest.mark.usefixtures("private_folders")


def opened(text: str = "print(\n") -> Window:
    window = Window()
    window.front.open(URI, "python", text)
    return window


def typing(window: Window, at: int, text: str, interval: float = 0.1) -> None:
    for n, letter in enumerate(text):
        window.now += interval
        window.front.change(URI, Span(0, at + n, 0, at + n), letter)


def sure(text: str, confidence: float, row_id: str = "row") -> dict[str, Any]:
    return {**result(text, row_id=row_id), "confidence": confidence}


def test_nothing_takes_a_visible_suggestions_place(monkeypatch: pytest.MonkeyPatch) -> None:
    window = opened()
    window.engine.answers = [sure("values, key=len)", 0.5)]
    assert window.complete(0, 6)["text"] == "values, key=len)"
    typing(window, 6, "va")
    monkeypatch.setattr(front_module, "fit", lambda *_, **__: None)  # alone, its rest would not be shown
    window.front._gate.decide = None  # type: ignore[method-assign,assignment]
    assert window.complete(0, 8)["text"] == "lues, key=len)"


def test_an_unsure_suggestion_waits_until_no_key_is_imminent(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = list[float]()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    for confidence in (0.5, 0.9):
        window = opened("x = foo\n")
        typing(window, 7, "(barbaz")
        window.now += 0.16
        waits.clear()
        window.engine.answers = [sure(", 1)", confidence)]
        assert window.complete(0, 14)["text"] == ", 1)"
        assert waits == ([pytest.approx(LONGEST_SECONDS - 0.16)] if confidence < 0.7 else [])


def test_what_the_next_key_overtakes_is_not_shown() -> None:
    window = opened("x = foo\n")
    typing(window, 7, "(barbaz")
    window.now += 0.16
    window.engine.answers = [sure(", 1)", 0.5)]

    async def type_on() -> Any:
        request = asyncio.ensure_future(window.front.complete(URI, 0, 14, True))
        await asyncio.sleep(0.005)
        window.front.change(URI, Span(0, 14, 0, 14), ",")
        return await request

    assert asyncio.run(type_on()) is None
    assert len(window.engine.requests) == 1 and window.reason()[0] == "superseded"
    window.now += 1
    assert window.complete(0, 15)["text"] == " 1)", "but it was not in vain"


def test_a_suggestion_that_was_typed_past_does_not_return_on_its_line() -> None:
    window = opened("x = \ny = \n")
    window.engine.answers = [sure("values", 0.9, row_id) for row_id in "abcd"]
    assert window.complete(0, 4)
    window.now += 1
    typing(window, 4, "1 + ")
    assert window.complete(0, 8) is None and window.reason()[0] == "dismissed"
    assert asyncio.run(window.front.complete(URI, 0, 8, automatic=False)), "by hand it does"
    assert window.complete(1, 4)["text"] == "values", "and on another line"


def test_a_suggestion_beside_the_list_comes_from_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_module, "SETTLED_SECONDS", 0.0)
    window = opened("items.ap\n")

    def beside(entry: str) -> Any:
        selected = SelectedEntry(entry, Span(0, 6, 0, 8))
        return asyncio.run(window.front.complete(URI, 0, 8, True, selected))

    window.engine.answers = [sure("pend(x)", 0.9), sure("ly(f)", 0.9, "other")]
    assert window.complete(0, 8)["text"] == "pend(x)"
    assert beside("append")["text"] == "(x)"
    assert len(window.engine.requests) == 1, "it goes on with the entry"
    assert beside("apply")["text"] == "ly(f)"
    assert window.engine.requests[1]["prefix"] == "items.apply"
    assert window.front._feedback.outcomes.is_visible("row"), "the document has no entry yet"
    assert selected_entry.SETTLED_SECONDS > 0


def test_a_list_that_is_scrolled_through_costs_nothing() -> None:
    window = opened("items.ap\n")
    window.engine.answers = [sure("(x)", 0.9)]

    async def scroll() -> Any:
        for entry in ("append", "apply", "apropos"):
            selected = SelectedEntry(entry, Span(0, 6, 0, 8))
            request = asyncio.ensure_future(window.front.complete(URI, 0, 8, True, selected))
            await asyncio.sleep(0.01)
            if entry != "apropos":
                request.cancel()
        return await request

    assert asyncio.run(scroll())["text"] == "(x)"
    assert [request["prefix"] for request in window.engine.requests] == ["items.apropos"]

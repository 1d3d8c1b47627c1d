"""The front with a scripted engine, while the user types on, accepts and undoes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from green_code.link.messages import StatusMessage
from green_code.lsp import ahead
from green_code.lsp.documents import Span
from tests.lsp.front_window import URI, Window, feature, result, write_gate

pytestmark = pytest.mark.usefixtures("private_folders")


def test_typing_along_a_suggestion_needs_no_engine() -> None:
    window = Window()
    window.front.open(URI, "python", "print(\n")
    window.engine.answers = [result("first, second)"), result("f)", row_id="another")]
    assert window.complete(0, 6)["text"] == "first, second)"
    for n, letter in enumerate("fir"):
        window.front.change(URI, Span(0, 6 + n, 0, 6 + n), letter)
    assert window.complete(0, 9)["text"] == "st, second)"
    assert window.reason()[0] == "closing_bracket"
    window.front.change(URI, Span(0, 9, 0, 9), "e")
    assert window.complete(0, 10)["text"] == "f)"
    window.front.change(URI, Span(0, 9, 0, 10), "")
    assert window.complete(0, 9)["text"] == "st, second)"
    assert len(window.engine.requests) == 2
    # Another model or bundle may give other completions, and after a time limit the next one may be longer.
    window.engine.on_status(StatusMessage(state="ready", message="loaded again", progress=None, reason=None))
    window.engine.answers = [result("st", "budget"), result("st, third)")]
    assert window.complete(0, 9)["text"] == "st"
    assert window.complete(0, 9)["text"] == "st, third)"


def test_what_is_typed_along_stays_as_it_was_made_to_fit() -> None:
    window = Window()
    window.front.open(URI, "python", "count = 1\nx = \n")
    window.engine.answers = [result("counter(count"), result("other")]
    assert window.complete(1, 4)["text"] == "counter(count)"
    for n, letter in enumerate("cou"):
        window.front.change(URI, Span(1, 4 + n, 1, 4 + n), letter)
    assert window.complete(1, 7)["text"] == "nter(count)", "though no other word begins like this"
    for n, letter in enumerate("nter"):
        window.front.change(URI, Span(1, 7 + n, 1, 7 + n), letter)
    window.front.change(URI, Span(1, 11, 1, 11), "()")  # the editor closes it
    found = window.complete(1, 12)
    assert (found["text"], found["replaced"]) == ("count)", 1) and len(window.engine.requests) == 1


def test_what_was_accepted_and_undone_is_offered_again_and_counted_once() -> None:
    window = Window()
    window.front.open(URI, "python", "a = '😀'; x = f(\r\n")
    window.engine.answers = [result("1)")]

    async def accept_and_undo() -> None:
        for _ in range(2):
            found = await window.front.complete(URI, 0, 16, automatic=True)
            assert found is not None and found["text"] == "1)"
            window.front.change(URI, Span(0, 16, 0, 16), "1)")
            window.front.accepted("row")
            window.front.change(URI, Span(0, 16, 0, 18), "")
        await window.front.close()

    asyncio.run(accept_and_undo())
    assert window.engine.taken == [("row", 2)] and len(window.engine.requests) == 1


def test_what_the_next_key_overtakes_never_reaches_the_engine() -> None:
    window = Window()
    window.front.open(URI, "python", "x = \n")
    for n, letter in enumerate("typed"):
        window.now += 0.1
        window.front.change(URI, Span(0, 4 + n, 0, 4 + n), letter)

    async def type_on(automatic: bool) -> Any:
        window.engine.answers = [result()]
        request = asyncio.ensure_future(window.front.complete(URI, 0, 9, automatic))
        await asyncio.sleep(0)
        window.front.change(URI, Span(0, 9, 0, 9), "!")
        return await request

    assert asyncio.run(type_on(automatic=True)) is None
    assert window.engine.requests == [] and window.reason()[0] == "superseded"
    assert asyncio.run(type_on(automatic=False)), "a request by hand is answered"
    settings_change = asyncio.run(_while_waiting(window, lambda: window.front.configure({"enabled": False})))
    assert settings_change is None and len(window.engine.requests) == 1
    window.front.configure({})
    window.now += 0.5
    window.engine.answers = [result()]
    assert window.complete(0, 9), "and so is a pause"


async def _while_waiting(window: Window, happens: Callable[[], Any]) -> Any:
    """The result of an automatic request that waits for the debounce while something else happens."""
    window.now += 0.1
    window.front.change(URI, Span(0, 10, 0, 10), "?")
    request = asyncio.ensure_future(window.front.complete(URI, 0, 11, True))
    await asyncio.sleep(0)
    happens()
    return await request


def test_a_suggestion_that_the_text_has_overtaken_says_nothing_about_the_user(private_folders: Path) -> None:
    write_gate(private_folders, bias=0.0)
    window = Window()
    window.front.open(URI, "python", "x = \n")

    async def type_on() -> None:
        may_answer = asyncio.Event()
        window.engine.answers = [may_answer, result("first"), result("other", row_id="b"), result("third", row_id="c")]
        request = asyncio.ensure_future(window.front.complete(URI, 0, 4, True))
        await asyncio.sleep(0)
        window.front.change(URI, Span(0, 4, 0, 4), "z")
        may_answer.set()
        await request
        window.now += 1.0
        window.front.change(URI, Span(0, 5, 0, 5), "(")
        await window.front.complete(URI, 0, 6, True)
        await window.front.complete(URI, 0, 6, False)

    asyncio.run(type_on())
    assert window.probability() == 0.5 and len(window.engine.requests) == 3


def test_the_rest_is_there_when_a_suggestion_that_was_cut_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "READ_SECONDS", 0.0)
    window = Window()
    window.front.open(URI, "python", "x = \ny\n")
    window.engine.answers = [result("first", "unsure", "a"), result("(1)", row_id="b")]

    async def use() -> None:
        assert await window.front.complete(URI, 0, 4, True)
        await asyncio.sleep(0.01)
        here, behind = window.engine.requests
        assert feature(here, "last_blank") == feature(behind, "last_letter") == 1 and feature(behind, "last_blank") == 0
        assert window.engine.displayed == [("a", 5)], "what is computed ahead is not shown yet"
        window.front.change(URI, Span(0, 4, 0, 4), "first")
        window.front.accepted("a", 5)
        found = await window.front.complete(URI, 0, 9, True)
        assert found is not None and found["text"] == "(1)" and found["id"] == "b"
        assert window.engine.displayed == [("a", 5), ("b", 3)]
        last = window.front.explain()["last"]
        assert last is not None and last["text"] == "(1)"
        assert len(window.engine.requests) == 2

    asyncio.run(use())


def test_off_means_off_for_the_next_suggestion_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "READ_SECONDS", 0.0)
    window = Window()
    window.front.open(URI, "python", "x = \n")

    async def switch_off() -> None:
        window.engine.answers = [result("first", "unsure"), asyncio.Event()]
        await window.front.complete(URI, 0, 4, True)
        await asyncio.sleep(0.01)
        window.front.configure({"enabled": False})
        await asyncio.sleep(0.01)
        assert window.engine.cancelled == 1

    asyncio.run(switch_off())

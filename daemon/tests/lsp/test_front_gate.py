"""The front with a scripted engine and a gate: what is asked for, and what is learned."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from green_code.lsp.documents import Span
from tests.lsp.front_window import URI, Window, feature, result, write_gate

pytestmark = pytest.mark.usefixtures("private_folders")


def test_the_gate_refuses_says_why_and_leaves_what_was_asked_by_hand_alone(private_folders: Path) -> None:
    write_gate(private_folders, bias=-3.0)
    window = Window()
    window.front.open(URI, "python", "print(\n")
    assert window.complete(0, 6) is None
    explanation = window.front.explain()
    assert explanation["reason"] == "gated" and "5%" in explanation["message"] and "20%" in explanation["message"]
    assert "eager" in explanation["action"] and "by hand" in explanation["action"]
    window.engine.answers = [result("1, 2)")]
    assert window.complete(0, 6, automatic=False)["text"] == "1, 2)"
    [params] = window.engine.requests
    assert params["stop"] == 0.0 and feature(params, "last_opening") == 1
    window.front.change(URI, Span(0, 6, 0, 6), "1")
    assert window.complete(0, 7)["text"] == ", 2)", "typing along it needs no gate"
    window.front.configure({"suggestions": "eager", "enabled": False})
    assert window.complete(0, 7) is None and window.reason()[0] == "disabled", "guards come first"


def test_every_request_has_the_features_of_its_place_also_without_a_gate() -> None:
    window = Window()
    window.front.open(URI, "python", "print(\nx.\n")
    window.engine.answers = [result("", "empty"), result("", "empty")]
    window.complete(0, 6, automatic=False)
    window.complete(1, 2)
    by_hand, automatic = window.engine.requests
    assert feature(by_hand, "last_opening") == feature(automatic, "last_dot") == 1
    assert feature(automatic, "last_opening") == 0 and feature(automatic, "language_python") == 1


def test_an_automatic_request_has_the_stop(private_folders: Path) -> None:
    write_gate(private_folders, bias=1.5)
    window = Window()
    window.front.configure({"suggestions": "sure"})
    window.front.open(URI, "python", "print(\n")
    window.engine.answers = [result(), result("1, 2)", row_id="long")]
    assert window.complete(0, 6)
    assert window.engine.requests[0]["stop"] == "sure"
    assert window.complete(0, 6, automatic=False)["text"] == "1, 2)", "by hand is not answered by what was cut"


def test_what_becomes_of_suggestions_reaches_the_engine_and_the_gate(private_folders: Path) -> None:
    write_gate(private_folders, bias=0.0)
    window = Window()
    window.front.open(URI, "python", "x = \ny = \nz = \n")
    window.engine.answers = [result("first + second", row_id="a"), result("no", row_id="b")]
    window.engine.answers += [result("", "unlikely")] * 2
    expected = [window.probability()]

    async def use() -> None:
        assert await window.front.complete(URI, 0, 4, True)
        window.now += 1.0
        window.front.change(URI, Span(0, 4, 0, 4), "first")
        window.front.change(URI, Span(0, 9, 0, 9), " + second")
        window.front.accepted("a", 14)
        expected.append(window.probability())
        window.now += 1.0
        assert await window.front.complete(URI, 1, 4, True)
        window.now += 1.0
        window.front.change(URI, Span(1, 4, 1, 4), "z")
        expected.append(window.probability())
        assert await window.front.complete(URI, 2, 4, True) is None
        expected.append(window.probability())
        await window.front.complete(URI, 2, 4, False)
        await window.front.close()

    asyncio.run(use())
    assert window.engine.displayed == [("a", 14), ("b", 2)]
    assert window.engine.taken == [("a", 5), ("a", 9)]
    start, taken, not_taken, not_worth_showing = expected
    assert start < taken > not_taken > not_worth_showing
    assert [feature(params, "last_taken") for params in window.engine.requests] == [0, 1, -1, -1]
    assert window.reason()[0] == "unlikely"
    assert list((private_folders / "data").glob("gate-*.json")), "what was learned is saved when the window closes"


def test_reset_gate_forgets_what_was_learned(private_folders: Path) -> None:
    write_gate(private_folders, bias=0.0)
    window = Window()
    window.front.open(URI, "python", "x = \n")
    window.engine.answers = [result("", "unlikely")] * 10

    async def use() -> None:
        for _ in range(9):
            await window.front.complete(URI, 0, 4, False)
        assert list((private_folders / "data").glob("gate-*.json"))
        assert window.probability() < 0.5
        assert await window.front.reset_gate() and not await window.front.reset_gate()
        assert window.probability() == 0.5

    asyncio.run(use())
    assert not list((private_folders / "data").glob("gate-*.json"))


def test_the_gate_never_falls_silent(private_folders: Path) -> None:
    write_gate(private_folders, bias=-9.0)
    window = Window()
    window.front.open(URI, "python", "x = \n")
    window.engine.answers = [result("", "unlikely")] * 100
    for _ in range(300):
        window.complete(0, 4)
    assert 300 // 26 <= len(window.engine.requests) < 30

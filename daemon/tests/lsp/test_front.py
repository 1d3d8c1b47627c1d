"""The front with a scripted engine: the parameters of requests, and what is shown and explained."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from green_code.link.messages import StatusMessage
from green_code.lsp.documents import Span
from green_code.problems import Problem
from tests.lsp.front_window import URI, Window, result

pytestmark = pytest.mark.usefixtures("private_folders")


def test_the_parameters_of_a_request() -> None:
    window = Window()
    assert window.front.configure({"threshold": 0.9, "maxLines": 3, "decoding": "full"}) == []
    window.front.open(URI, "python", "s = '😀'\r\nprint(\r\n")
    window.front.change(URI, Span(0, 7, 0, 7), "  # 😀")
    window.engine.answers = [result()]
    got = window.complete(1, 6)
    assert got["text"] == "1)"
    [params] = window.engine.requests
    assert (params["prefix"], params["suffix"]) == ("s = '😀  # 😀'\nprint(", "\n")
    assert (params["threshold"], params["max_lines"], params["single_line"]) == (0.9, 3, False)
    assert (params["decoding"], params["policy"], params["language"]) == ("full", "full", "python")
    assert params["max_tokens"] == 96 and params["max_prompt_tokens"] == 512
    assert URI in params["session"] and str(os.getpid()) in params["session"]


def test_a_request_by_hand_asks_for_alternatives_which_are_made_to_fit_alike() -> None:
    window = Window()
    window.front.open(URI, "python", "print(first, )\n")
    window.engine.answers = [
        {**result("second)"), "alternatives": ["third)", "second", "fourth(", "second)"]},
        result("x"),
    ]
    got = window.complete(0, 13, automatic=False)
    assert (got["text"], got["replaced"]) == ("second)", 1), "the bracket is there"
    assert got["others"] == [("third)", 1), ("fourth", 0)], "none is half open, none leaves the same"
    window.complete(0, 6)
    assert [params["alternatives"] for params in window.engine.requests] == [2, 0]


def test_a_warning_of_the_engine_is_shown_once_whatever_the_status_is() -> None:
    window = Window()
    window.front.configure({"enabled": False})
    for message in ("The ledger was removed.", "The ledger was removed.", "It cannot be written."):
        window.engine.on_warning(message)
    assert window.warnings == ["The ledger was removed.", "It cannot be written."]


def test_a_malformed_glob_is_named() -> None:
    [message] = Window().front.configure({"excludedFiles": ["**/.env*", "{a,b"]})
    assert "greenCode.excludedFiles" in message and "{a,b" in message


def test_explanations_follow_the_last_request() -> None:
    window = Window()
    assert window.front.explain()["code"] == "nothing_yet" and window.front.explain()["uri"] is None
    window.front.open(URI, "python", "print(\nx = \n")
    window.engine.answers = [result(), result("", "empty"), Problem("model_missing", "Not installed. Install it.")]
    assert window.complete(0, 6)
    explanation = window.front.explain()
    assert explanation["reason"] == "closing_bracket" and explanation["last"] is not None
    tokens = [("1", 6, "exit"), (")", 12, "")]
    assert [tuple(token.values()) for token in explanation["last"]["tokens"]] == tokens
    assert window.complete(1, 4) is None and window.reason()[0] == "empty"
    assert window.complete(1, 4) is None and window.reason() == ("model_missing", "Not installed. Install it.")
    assert window.front.explain()["last"] is not None, "the last completion stays"
    assert window.complete(0, 0) is None and window.reason()[0] == "no_context"
    window.front.configure({"trigger": "manual"})
    assert window.complete(1, 4) is None and window.reason()[0] == "filtered"
    assert window.complete(0, 6, uri="file:///other.py") is None and window.reason()[0] == "filtered"
    window.now += 90
    explanation = window.front.explain()
    assert (explanation["uri"], explanation["seconds_ago"]) == ("file:///other.py", 90)
    assert len(window.engine.requests) == 3


def test_comments_and_strings_are_left_out_language_by_language() -> None:
    window = Window()
    assert window.front.configure({"completeInStrings": False, "[java]": {"completeInComments": False}}) == []
    window.front.open(URI, "python", "x = '😀 \ny = 1  # \n")
    window.front.open("file:///B.java", "java", "int x; // \r\nint y = \r\n")
    window.engine.answers = [result(), result()]
    assert window.complete(0, 8) is None
    explanation = window.front.explain()
    assert explanation["reason"] == "in_string" and "off for python" in explanation["message"]
    assert explanation["action"] and "greenCode.completeInStrings" in explanation["action"]
    assert window.complete(1, 9), "comments are for Java alone"
    assert window.complete(0, 10, uri="file:///B.java") is None and window.reason()[0] == "in_comment"
    assert window.complete(1, 8, uri="file:///B.java")


@pytest.mark.parametrize(("encoding", "units"), [("utf-8", 4), ("utf-16", 2), ("utf-32", 1)])
def test_what_is_replaced_is_counted_in_the_editors_units(encoding: Any, units: int) -> None:
    window = Window()
    window.front.encoding = encoding
    window.front.open(URI, "python", "x = f('', '😀')\n")
    window.engine.answers = [result("a', '😀') + 1")]
    found = window.complete(0, 7)
    assert (found["text"], found["replaced"]) == ("a', '😀') + 1", len("', '')") + units)


def test_a_lone_surrogate_in_the_document_does_no_harm() -> None:
    window = Window()
    window.front.open(URI, "python", "a = '\ud83d'\nx = f('\ud83d', )\n")
    window.engine.answers = [result("b) + 1")]
    found = window.complete(1, 11)
    assert (found["text"], found["replaced"]) == ("b) + 1", 1)


def test_a_document_that_was_closed_meanwhile_gets_no_suggestion() -> None:
    window = Window()
    window.front.open(URI, "python", "x = f(\n")

    async def close_and_open() -> Any:
        window.engine.answers = [answer := asyncio.Event(), result()]
        request = asyncio.ensure_future(window.front.complete(URI, 0, 6, automatic=True))
        await asyncio.sleep(0)
        window.front.close_document(URI)
        window.front.open(URI, "python", "x = f(\n")
        answer.set()
        return await request

    assert asyncio.run(close_and_open()) is None
    assert window.engine.displayed == [] and window.reason()[0] == "superseded"


def test_the_reason_of_a_cancelled_request() -> None:
    window = Window()
    window.front.open(URI, "python", "print(\n")

    async def cancel() -> None:
        window.engine.answers = [asyncio.Event()]
        task = asyncio.ensure_future(window.front.complete(URI, 0, 6, True))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    ready = StatusMessage(state="ready", message="Ready", progress=None, reason=None)
    window.engine.on_status(StatusMessage(state="loading", message="Loading x", progress=0.5, reason=None))
    asyncio.run(cancel())
    assert window.reason()[0] == "engine_starting"
    window.engine.on_status(ready)
    asyncio.run(cancel())
    assert window.reason()[0] == "cancelled"


def test_disabled_and_paused_hide_the_engines_state() -> None:
    on_battery = False
    window = Window(lambda: on_battery)
    ready = StatusMessage(state="ready", message="Ready", progress=None, reason=None)
    window.front.configure({"pauseOnBattery": True})
    assert window.shown == [], "nothing is sent before the editor is ready for it"
    asyncio.run(window.front.begin())
    window.engine.on_status(ready)
    on_battery = True
    window.engine.on_status(ready)
    window.front.configure({"enabled": False})
    window.front.configure({"enabled": False})
    window.front.configure({})
    assert [status["state"] for status in window.shown] == ["starting", "ready", "paused", "disabled", "ready"]


@pytest.mark.parametrize(("pauses", "on_battery", "warms_up"), [(False, True, 1), (True, False, 1), (True, True, 0)])
def test_the_model_is_not_loaded_ahead_where_completions_are_paused(
    pauses: bool, on_battery: bool, warms_up: int
) -> None:
    window = Window(lambda: on_battery)
    window.front.configure({"pauseOnBattery": pauses})
    asyncio.run(window.front.begin())
    assert len(window.engine.warmed_up) == warms_up

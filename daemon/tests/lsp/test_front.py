"""The front with a scripted engine: the parameters of requests, what is remembered, and what is shown."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from green_code.link.messages import CompletionParams, StatusMessage
from green_code.lsp import ahead
from green_code.lsp.documents import Span
from green_code.lsp.front import Front
from green_code.lsp.gate_features import NAMES, Place
from green_code.problems import Problem

URI = "file:///home/me/a.py"


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Without a gate, until a test writes one."""
    monkeypatch.setenv("GREEN_CODE_BUNDLES", str(tmp_path / "bundles"))
    monkeypatch.setenv("GREEN_CODE_DATA_DIR", str(tmp_path / "data"))
    return tmp_path


def write_gate(folders: Path, bias: float) -> None:
    """The default model's, which expects the same everywhere."""
    bounds = {"eager": 0.1, "balanced": 0.2, "sure": 0.4}
    gate = {"schema": 2, "features": NAMES, "weights": [0.0] * len(NAMES), "bias": bias, "bounds": bounds}
    path = folders / "bundles" / "gemma-3-270m" / "gate.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(gate))


def result(text: str = "1)", reason: str = "closing_bracket", row_id: str = "row") -> dict[str, Any]:
    return {
        "id": row_id,
        "text": text,
        "token_texts": ["1", ")"],
        "exits": [6, 12],
        "drafts": ["exit", ""],
        "passes": 1,
        "alternatives": [],
        "layers_total": 18,
        "energy_joules": 0.1,
        "energy_source": "estimate",
        "saving": 0.4,
        "reason": reason,
        "confidence": 0.9,
    }


class ScriptedSupervisor:
    """Answers from a list; an exception in it is raised, an event waited for."""

    def __init__(self, on_status: Callable[..., None], on_energy: Callable[..., None]) -> None:
        self.on_status, self.on_energy = on_status, on_energy
        self.requests: list[CompletionParams] = []
        self.reads_snippets = False
        self.answers: list[Any] = []
        self.cancelled = 0
        self.warmed_up: list[str] = []
        self.displayed: list[tuple[str, int]] = []
        self.taken: list[tuple[str, int]] = []

    async def warm_up(self, model: str, device: str) -> None:
        self.warmed_up.append(model)

    def shown(self, row_id: str, characters: int) -> None:
        self.displayed.append((row_id, characters))

    def accepted(self, row_id: str, characters: int) -> None:
        self.taken.append((row_id, characters))

    def retained(self, row_id: str) -> None:
        pass

    async def close(self) -> None:
        pass

    async def complete(self, params: CompletionParams) -> Any:
        self.requests.append(params)
        answer = self.answers.pop(0)
        if isinstance(answer, asyncio.Event):
            try:
                await answer.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            answer = self.answers.pop(0)
        for state, message in (("busy", "Completing"), ("ready", "Ready")):  # as the engine pushes them
            self.on_status({"state": state, "message": message, "progress": None, "reason": None})
        if isinstance(answer, Exception):
            raise answer
        return answer


class NoExploration(random.Random):
    """A refusal of the gate is a refusal."""

    def random(self) -> float:
        return 1.0


class Window:
    """A front, its scripted engine, and what it showed."""

    def __init__(self, on_battery: Callable[[], bool] = lambda: False) -> None:
        self.now = 0.0
        self.shown: list[StatusMessage] = []
        self.engine: ScriptedSupervisor = None  # type: ignore[assignment]
        self.front = Front(
            self.shown.append,
            lambda energy: None,
            supervisor=self._make,
            on_battery=on_battery,
            clock=lambda: self.now,
            chance=NoExploration(),
        )

    def _make(self, on_status: Any, on_energy: Any) -> Any:
        self.engine = ScriptedSupervisor(on_status, on_energy)
        return self.engine

    def complete(self, line: int, units: int, automatic: bool = True, uri: str = URI) -> Any:
        return asyncio.run(self.front.complete(uri, line, units, automatic))

    def probability(self) -> float:
        """What the gate expects of one place."""
        found = self.front._gate.decide(Place("python", "x = ", "\n", 0, 1), automatic=False).probability
        assert found is not None
        return found

    def reason(self) -> tuple[str, str]:
        explanation = self.front.explain()
        return explanation["reason"], explanation["message"]


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


def test_the_gate_refuses_says_why_and_leaves_what_was_asked_by_hand_alone(folders: Path) -> None:
    write_gate(folders, bias=-3.0)
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


def feature(params: CompletionParams, name: str) -> float:
    return dict(zip(NAMES, params["place"], strict=True))[name]


def test_every_request_has_the_features_of_its_place_also_without_a_gate() -> None:
    window = Window()
    window.front.open(URI, "python", "print(\nx.\n")
    window.engine.answers = [result("", "empty"), result("", "empty")]
    window.complete(0, 6, automatic=False)
    window.complete(1, 2)
    by_hand, automatic = window.engine.requests
    assert feature(by_hand, "last_opening") == feature(automatic, "last_dot") == 1
    assert feature(automatic, "last_opening") == 0 and feature(automatic, "language_python") == 1


def test_an_automatic_request_has_the_stop(folders: Path) -> None:
    write_gate(folders, bias=1.5)
    window = Window()
    window.front.configure({"suggestions": "sure"})
    window.front.open(URI, "python", "print(\n")
    window.engine.answers = [result(), result("1, 2)", row_id="long")]
    assert window.complete(0, 6)
    assert window.engine.requests[0]["stop"] == "sure"
    assert window.complete(0, 6, automatic=False)["text"] == "1, 2)", "by hand is not answered by what was cut"


def test_what_becomes_of_suggestions_reaches_the_engine_and_the_gate(folders: Path) -> None:
    write_gate(folders, bias=0.0)
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
    assert list((folders / "data").glob("gate-*.json")), "what was learned is saved when the window closes"


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


def test_reset_gate_forgets_what_was_learned(folders: Path) -> None:
    write_gate(folders, bias=0.0)
    window = Window()
    window.front.open(URI, "python", "x = \n")
    window.engine.answers = [result("", "unlikely")] * 10

    async def use() -> None:
        for _ in range(9):
            await window.front.complete(URI, 0, 4, False)
        assert list((folders / "data").glob("gate-*.json"))
        assert window.probability() < 0.5
        assert await window.front.reset_gate() and not await window.front.reset_gate()
        assert window.probability() == 0.5

    asyncio.run(use())
    assert not list((folders / "data").glob("gate-*.json"))


def test_the_gate_never_falls_silent(folders: Path) -> None:
    write_gate(folders, bias=-9.0)
    window = Window()
    window.front.open(URI, "python", "x = \n")
    window.engine.answers = [result("", "unlikely")] * 100
    for _ in range(300):
        window.complete(0, 4)
    assert 300 // 26 <= len(window.engine.requests) < 30


def test_a_suggestion_that_the_text_has_overtaken_says_nothing_about_the_user(folders: Path) -> None:
    write_gate(folders, bias=0.0)
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

"""The front with a scripted engine: what is asked, remembered and shown; and the supervisor's back-off."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import green_code
from green_code.cli.engine import stop_engine
from green_code.link import client, discovery
from green_code.link.discovery import find_engine, place
from green_code.link.messages import CompletionParams, StatusMessage
from green_code.lsp.documents import Span
from green_code.lsp.front import Front
from green_code.lsp.supervisor import Supervisor
from green_code.problems import Problem

FAKE = Path(__file__).resolve().parents[1] / "engine" / "fake_runtime.py"
URI = "file:///home/me/a.py"
WAIT_SECONDS = 10.0


def result(text: str = "1)", reason: str = "closing_bracket") -> dict[str, Any]:
    return {
        "id": "row",
        "text": text,
        "token_texts": ["1", ")"],
        "exits": [6, 12],
        "layers_total": 18,
        "energy_joules": 0.1,
        "energy_source": "estimate",
        "saving": 0.4,
        "reason": reason,
    }


class ScriptedSupervisor:
    """Answers from a list; an exception in it is raised, an event waited for."""

    def __init__(self, on_status: Callable[..., None], on_energy: Callable[..., None]) -> None:
        self.on_status, self.on_energy = on_status, on_energy
        self.asked: list[CompletionParams] = []
        self.answers: list[Any] = []
        self.warmed_up: list[str] = []

    async def warm_up(self, model: str) -> None:
        self.warmed_up.append(model)

    def kept(self, row_id: str) -> None:
        pass

    async def complete(self, params: CompletionParams) -> Any:
        self.asked.append(params)
        answer = self.answers.pop(0)
        if isinstance(answer, asyncio.Event):
            await answer.wait()
        for state, message in (("busy", "Completing"), ("ready", "Ready")):  # as the engine pushes them
            self.on_status({"state": state, "message": message, "progress": None, "reason": None})
        if isinstance(answer, Exception):
            raise answer
        return answer


class Desk:
    """A front, its scripted engine, and what it showed."""

    def __init__(self, on_battery: Callable[[], bool] = lambda: False) -> None:
        self.now = 0.0
        self.shown: list[StatusMessage] = []
        self.engine: ScriptedSupervisor = None  # type: ignore[assignment]
        self.front = Front(
            self.shown.append, lambda energy: None, self._make, on_battery, clock=lambda: self.now
        )

    def _make(self, on_status: Any, on_energy: Any) -> Any:
        self.engine = ScriptedSupervisor(on_status, on_energy)
        return self.engine

    def complete(self, line: int, units: int, automatic: bool = True, uri: str = URI) -> Any:
        return asyncio.run(self.front.complete(uri, line, units, automatic))

    def reason(self) -> tuple[str, str]:
        told = self.front.explain()
        return told["reason"], told["message"]


def test_what_the_engine_is_asked() -> None:
    desk = Desk()
    assert desk.front.configure({"threshold": 0.9, "maxLines": 3, "decoding": "full"}) == []
    desk.front.open(URI, "python", "s = '😀'\r\nprint(\r\n")
    desk.front.change(URI, Span(0, 7, 0, 7), "  # 😀")
    desk.engine.answers = [result()]
    got = desk.complete(1, 6)
    assert got["text"] == "1)"
    [asked] = desk.engine.asked
    assert (asked["prefix"], asked["suffix"]) == ("s = '😀  # 😀'\nprint(", "\n")
    assert (asked["threshold"], asked["max_lines"], asked["single_line"]) == (0.9, 3, False)
    assert (asked["decoding"], asked["policy"], asked["language"]) == ("full", "full", "python")
    assert asked["max_tokens"] == 96 and asked["max_prompt_tokens"] == 512
    assert URI in asked["session"] and str(os.getpid()) in asked["session"]


def test_a_pattern_that_cannot_be_understood_is_named() -> None:
    [message] = Desk().front.configure({"excludedFiles": ["**/.env*", "{a,b"]})
    assert "greenCode.excludedFiles" in message and "{a,b" in message


def test_explanations_follow_the_last_request() -> None:
    desk = Desk()
    assert "No completion has been asked for" in desk.reason()[1]
    desk.front.open(URI, "python", "print(\nx = \n")
    desk.engine.answers = [
        result(),
        result("", "empty"),
        Problem("model_missing", "Not installed. Install it."),
    ]
    assert desk.complete(0, 6)
    told = desk.front.explain()
    assert told["reason"] == "closing_bracket" and told["last"] is not None
    assert told["last"]["tokens"] == [{"text": "1", "layers": 6}, {"text": ")", "layers": 12}]
    assert desk.complete(1, 4) is None and desk.reason()[0] == "empty"
    assert desk.complete(1, 4) is None and desk.reason() == ("model_missing", "Not installed. Install it.")
    assert desk.front.explain()["last"] is not None, "the last completion is kept"
    assert desk.complete(0, 0) is None and desk.reason()[0] == "no_context"
    desk.front.configure({"trigger": "manual"})
    assert desk.complete(1, 4) is None and desk.reason()[0] == "filtered"
    assert desk.complete(0, 6, uri="file:///other.py") is None and desk.reason()[0] == "filtered"
    assert len(desk.engine.asked) == 3


def test_comments_and_strings_are_left_out_language_by_language() -> None:
    desk = Desk()
    assert desk.front.configure({"completeInStrings": False, "[java]": {"completeInComments": False}}) == []
    desk.front.open(URI, "python", "x = '😀 \ny = 1  # \n")
    desk.front.open("file:///B.java", "java", "int x; // \r\nint y = \r\n")
    desk.engine.answers = [result(), result()]
    assert desk.complete(0, 8) is None
    told = desk.front.explain()
    assert told["reason"] == "in_string" and "off for python" in told["message"]
    assert told["action"] and "greenCode.completeInStrings" in told["action"]
    assert desk.complete(1, 9), "comments are for Java alone"
    assert desk.complete(0, 10, uri="file:///B.java") is None and desk.reason()[0] == "in_comment"
    assert desk.complete(1, 8, uri="file:///B.java")


def test_typing_along_a_suggestion_does_not_ask_the_engine() -> None:
    desk = Desk()
    desk.front.open(URI, "python", "print(\n")
    desk.engine.answers = [result("first, second)"), result("f)")]
    assert desk.complete(0, 6)["text"] == "first, second)"
    desk.front.change(URI, Span(0, 6, 0, 6), "fir")
    assert desk.complete(0, 9)["text"] == "st, second)"
    assert desk.reason()[0] == "closing_bracket"
    desk.front.change(URI, Span(0, 9, 0, 9), "e")
    assert desk.complete(0, 10)["text"] == "f)"
    desk.front.change(URI, Span(0, 9, 0, 10), "")
    assert desk.complete(0, 9)["text"] == "st, second)"
    assert len(desk.engine.asked) == 2
    # Another model or bundle may say other things, and what was cut short may go on.
    desk.engine.on_status(StatusMessage(state="ready", message="loaded again", progress=None, reason=None))
    desk.engine.answers = [result("st", "budget"), result("st, third)")]
    assert desk.complete(0, 9)["text"] == "st"
    assert desk.complete(0, 9)["text"] == "st, third)"


def test_what_the_next_key_overtakes_never_reaches_the_engine() -> None:
    desk = Desk()
    desk.front.open(URI, "python", "x = \n")
    for n, letter in enumerate("typed"):
        desk.now += 0.1
        desk.front.change(URI, Span(0, 4 + n, 0, 4 + n), letter)

    async def type_on(automatic: bool) -> Any:
        desk.engine.answers = [result()]
        asked = asyncio.ensure_future(desk.front.complete(URI, 0, 9, automatic))
        await asyncio.sleep(0)
        desk.front.change(URI, Span(0, 9, 0, 9), "!")
        return await asked

    assert asyncio.run(type_on(automatic=True)) is None
    assert desk.engine.asked == [] and desk.reason()[0] == "superseded"
    assert asyncio.run(type_on(automatic=False)), "who asks is answered"
    settings_change = asyncio.run(_while_waiting(desk, lambda: desk.front.configure({"enabled": False})))
    assert settings_change is None and len(desk.engine.asked) == 1
    desk.front.configure({})
    desk.now += 0.5
    desk.engine.answers = [result()]
    assert desk.complete(0, 9), "and so is a pause"


async def _while_waiting(desk: Desk, happens: Callable[[], Any]) -> Any:
    """What an automatic request gives that waits for the next key, while something else happens."""
    desk.now += 0.1
    desk.front.change(URI, Span(0, 10, 0, 10), "?")
    asked = asyncio.ensure_future(desk.front.complete(URI, 0, 11, True))
    await asyncio.sleep(0)
    happens()
    return await asked


def test_a_cancelled_request_is_remembered_as_what_it_waited_for() -> None:
    desk = Desk()
    desk.front.open(URI, "python", "print(\n")

    async def cancel() -> None:
        desk.engine.answers = [asyncio.Event()]
        task = asyncio.ensure_future(desk.front.complete(URI, 0, 6, True))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    ready = StatusMessage(state="ready", message="Ready", progress=None, reason=None)
    desk.engine.on_status(StatusMessage(state="loading", message="Loading x", progress=0.5, reason=None))
    asyncio.run(cancel())
    assert desk.reason() == ("engine_starting", "Loading x")
    desk.engine.on_status(ready)
    asyncio.run(cancel())
    assert desk.reason()[0] == "cancelled"


def test_disabled_and_paused_stand_in_front_of_the_engines_state() -> None:
    on_battery = False
    desk = Desk(lambda: on_battery)
    ready = StatusMessage(state="ready", message="Ready", progress=None, reason=None)
    desk.front.configure({"pauseOnBattery": True})
    assert desk.shown == [], "nothing is sent before the editor is ready for it"
    asyncio.run(desk.front.begin())
    desk.engine.on_status(ready)
    on_battery = True
    desk.engine.on_status(ready)
    desk.front.configure({"enabled": False})
    desk.front.configure({"enabled": False})
    desk.front.configure({})
    assert [status["state"] for status in desk.shown] == ["starting", "ready", "paused", "disabled", "ready"]


@pytest.mark.parametrize(
    ("pauses", "on_battery", "warms_up"), [(False, True, 1), (True, False, 1), (True, True, 0)]
)
def test_the_model_is_not_loaded_ahead_where_completions_are_paused(
    pauses: bool, on_battery: bool, warms_up: int
) -> None:
    desk = Desk(lambda: on_battery)
    desk.front.configure({"pauseOnBattery": pauses})
    asyncio.run(desk.front.begin())
    assert len(desk.engine.warmed_up) == warms_up


# --- the supervisor, with a real engine process around a fake model --------------------------------------
@pytest.fixture
def engine_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GREEN_CODE_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("GREEN_CODE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(Path(green_code.__file__).resolve().parents[1]))
    yield
    with contextlib.suppress(Problem):
        asyncio.run(stop_engine())


class Watched:
    """A supervisor, its clock and what it told."""

    def __init__(self, *options: str) -> None:
        self.now = 0.0
        self.told: list[StatusMessage] = []
        self.supervisor = Supervisor(
            self.told.append,
            lambda energy: None,
            command=(sys.executable, str(FAKE), *options),
            clock=lambda: self.now,
        )

    def states(self) -> list[str]:
        return [status["state"] for status in self.told]


def request(prefix: str) -> CompletionParams:
    return CompletionParams(
        session="a",
        prefix=prefix,
        suffix="",
        language="python",
        model="fake",
        decoding="fast",
        policy="agent",
        threshold=0.8,
        max_tokens=8,
        single_line=True,
        max_lines=1,
        max_prompt_tokens=512,
    )


@pytest.mark.usefixtures("engine_folders")
def test_an_engine_that_dies_in_mid_request_is_started_and_asked_once_more() -> None:
    async def scenario() -> None:
        watched = Watched()
        with pytest.raises(Problem) as caught:  # this prefix kills the second engine as well
            await watched.supervisor.complete(request("die"))
        assert caught.value.reason == "engine_lost"
        assert watched.states().count("error") == 2
        with pytest.raises(Problem, match="2 times in a row") as caught:
            await watched.supervisor.complete(request("x"))
        assert caught.value.reason == "engine_lost"
        watched.now += 60
        assert (await watched.supervisor.complete(request("x")))["text"] == " + 1"
        await watched.supervisor.close()

    asyncio.run(scenario())


@pytest.mark.usefixtures("engine_folders")
def test_an_idle_engines_end_is_no_error_and_the_next_request_starts_another() -> None:
    async def scenario() -> None:
        watched = Watched()
        assert (await watched.supervisor.complete(request("x")))["text"]
        client = await find_engine(place())
        assert client is not None
        os.kill(client.engine_pid, signal.SIGTERM)
        while "not running" not in watched.told[-1]["message"]:
            await asyncio.sleep(0.01)
        await client.close()
        assert (await watched.supervisor.complete(request("x")))["text"]
        assert "error" not in watched.states()
        await watched.supervisor.close()

    asyncio.run(asyncio.wait_for(scenario(), WAIT_SECONDS))


@pytest.mark.usefixtures("engine_folders")
def test_another_windows_restart_loses_no_completion() -> None:
    async def scenario() -> None:
        one, other = Watched("--first-waits"), Watched("--first-waits")
        await other.supervisor.warm_up("fake")
        waiting = asyncio.ensure_future(other.supervisor.complete(request("x")))
        while "busy" not in other.states():
            await asyncio.sleep(0.01)
        await one.supervisor.restart("fake")
        assert (await waiting)["text"] == " + 1"
        for window in (one, other):
            await window.supervisor.close()

    asyncio.run(asyncio.wait_for(scenario(), 2 * WAIT_SECONDS))


@pytest.mark.usefixtures("engine_folders")
def test_an_engine_that_cannot_be_started_is_told() -> None:
    async def scenario() -> None:
        watched = Watched()
        watched.supervisor._command = (str(Path("no", "such", "python")),)
        with pytest.raises(Problem, match="cannot be started") as caught:
            await watched.supervisor.complete(request("x"))
        assert caught.value.reason == "engine_lost" and watched.states()[-1] == "error"

    asyncio.run(asyncio.wait_for(scenario(), WAIT_SECONDS))


@pytest.mark.usefixtures("engine_folders")
def test_restart_makes_another_process() -> None:
    async def scenario() -> None:
        watched = Watched()
        pids = []
        await watched.supervisor.warm_up("fake")
        for _ in range(2):
            client = await find_engine(place())
            assert client is not None
            pids.append(client.engine_pid)
            await client.close()
            await watched.supervisor.restart("fake")
        assert pids[0] != pids[1]
        assert (await watched.supervisor.report())["all"]["completions"] == 0
        await watched.supervisor.close()

    asyncio.run(asyncio.wait_for(scenario(), 2 * WAIT_SECONDS))


@pytest.mark.usefixtures("engine_folders")
def test_an_engine_that_hangs_is_told_and_restart_replaces_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "HELLO_SECONDS", 0.2)
    monkeypatch.setattr(discovery, "STOP_SECONDS", 0.2)

    async def hang(watched: Watched) -> int:
        await watched.supervisor.warm_up("fake")
        found = await find_engine(place())
        assert found is not None
        await found.close()
        os.kill(found.engine_pid, signal.SIGSTOP)
        return found.engine_pid

    async def scenario() -> None:
        old, new = Watched(), Watched()
        first = await hang(old)
        with pytest.raises(Problem, match="Restart Engine") as caught:
            await new.supervisor.complete(request("x"))
        assert caught.value.reason == "engine_hanging" and new.told[-1]["reason"] == "engine_hanging"
        await new.supervisor.restart("fake")  # in a window that never reached it
        assert (await new.supervisor.complete(request("x")))["text"]
        second = await hang(old)
        await old.supervisor.restart("fake")  # in one that had
        third = await find_engine(place())
        assert third is not None and len({first, second, third.engine_pid}) == 3
        await third.close()
        await old.supervisor.close()
        await new.supervisor.close()

    asyncio.run(asyncio.wait_for(scenario(), 3 * WAIT_SECONDS))


@pytest.mark.usefixtures("engine_folders")
def test_an_engine_that_cannot_start_is_told_and_not_started_on_every_keystroke() -> None:
    async def scenario() -> None:
        watched = Watched("--crash")
        for _ in range(3):
            with pytest.raises(Problem, match=r"libmodel|in a row") as caught:
                await watched.supervisor.complete(request("x"))
            assert caught.value.reason == "engine_lost"
        assert watched.states().count("starting") == 2
        assert watched.told[1]["reason"] == "engine_lost" and "libmodel" in watched.told[1]["message"]

    asyncio.run(scenario())


@pytest.mark.usefixtures("engine_folders")
def test_typing_on_while_the_engine_starts_starts_it_once() -> None:
    async def scenario() -> None:
        watched = Watched()
        for _ in range(5):
            task = asyncio.ensure_future(watched.supervisor.complete(request("x")))
            await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.wait([task])
        assert (await watched.supervisor.complete(request("x")))["text"]
        assert watched.states().count("starting") == 1
        await watched.supervisor.close()

    asyncio.run(asyncio.wait_for(scenario(), WAIT_SECONDS))
    assert "already listens" not in place().start_log_path.read_text()

"""The supervisor with a real engine process around a fake model: starts, ends, restarts and back-off."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import green_code
from green_code.cli.engine import stop_engine
from green_code.link import client, discovery
from green_code.link.discovery import find_engine, place
from green_code.link.messages import StatusMessage
from green_code.lsp.supervisor import Supervisor
from green_code.problems import Problem
from tests.engine.fake_runtime import WAIT_SECONDS, completion_params

FAKE = Path(__file__).resolve().parents[1] / "engine" / "fake_runtime.py"


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
    """A supervisor, its clock and the statuses that it reported."""

    def __init__(self, *options: str) -> None:
        self.now = 0.0
        self.statuses: list[StatusMessage] = []
        self.supervisor = Supervisor(
            self.statuses.append,
            lambda energy: None,
            command=(sys.executable, str(FAKE), *options),
            clock=lambda: self.now,
        )

    def states(self) -> list[str]:
        return [status["state"] for status in self.statuses]


def test_a_warning_of_the_engine_reaches_the_window() -> None:
    said: list[str] = []
    Supervisor(lambda status: None, lambda energy: None, said.append)._notified("warning", {"message": "It is gone."})
    assert said == ["It is gone."]


@pytest.mark.usefixtures("engine_folders")
def test_an_engine_that_dies_during_a_request_is_restarted_and_gets_it_once_more() -> None:
    async def scenario() -> None:
        watched = Watched()
        with pytest.raises(Problem) as caught:  # this prefix kills the second engine as well
            await watched.supervisor.complete(completion_params("die"))
        assert caught.value.reason == "engine_lost"
        assert watched.states().count("error") == 2
        with pytest.raises(Problem, match="2 times in a row") as caught:
            await watched.supervisor.complete(completion_params("x"))
        assert caught.value.reason == "engine_lost"
        watched.now += 60
        assert (await watched.supervisor.complete(completion_params("x")))["text"] == " + 1"
        await watched.supervisor.close()

    asyncio.run(scenario())


@pytest.mark.usefixtures("engine_folders")
def test_an_idle_engines_end_is_no_error_and_the_next_request_starts_another() -> None:
    async def scenario() -> None:
        watched = Watched()
        assert (await watched.supervisor.complete(completion_params("x")))["text"]
        client = await find_engine(place())
        assert client is not None
        os.kill(client.engine_pid, signal.SIGTERM)
        while "not running" not in watched.statuses[-1]["message"]:
            await asyncio.sleep(0.01)
        await client.close()
        assert (await watched.supervisor.complete(completion_params("x")))["text"]
        assert "error" not in watched.states()
        await watched.supervisor.close()

    asyncio.run(asyncio.wait_for(scenario(), WAIT_SECONDS))


@pytest.mark.usefixtures("engine_folders")
def test_another_windows_restart_loses_no_completion() -> None:
    async def scenario() -> None:
        one, other = Watched("--first-waits"), Watched("--first-waits")
        await other.supervisor.warm_up("fake")
        waiting = asyncio.ensure_future(other.supervisor.complete(completion_params("x")))
        while "busy" not in other.states():
            await asyncio.sleep(0.01)
        await one.supervisor.restart("fake")
        assert (await waiting)["text"] == " + 1"
        for window in (one, other):
            await window.supervisor.close()

    asyncio.run(asyncio.wait_for(scenario(), 2 * WAIT_SECONDS))


@pytest.mark.usefixtures("engine_folders")
def test_an_engine_that_cannot_be_started_is_reported() -> None:
    async def scenario() -> None:
        watched = Watched()
        watched.supervisor._command = (str(Path("no", "such", "python")),)
        with pytest.raises(Problem, match="cannot be started") as caught:
            await watched.supervisor.complete(completion_params("x"))
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
def test_an_engine_that_hangs_is_reported_and_restart_replaces_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "HELLO_SECONDS", 0.2)
    monkeypatch.setattr(discovery, "STOP_SECONDS", 0.2)

    async def hang(watched: Watched) -> int:
        await watched.supervisor.warm_up("fake")
        found = await find_engine(place())
        assert found is not None
        await found.close()
        psutil.Process(found.engine_pid).suspend()
        return found.engine_pid

    async def scenario() -> None:
        old, new = Watched(), Watched()
        first = await hang(old)
        with pytest.raises(Problem, match="Restart Engine") as caught:
            await new.supervisor.complete(completion_params("x"))
        assert caught.value.reason == "engine_hanging" and new.statuses[-1]["reason"] == "engine_hanging"
        await new.supervisor.restart("fake")  # in a window that never reached it
        assert (await new.supervisor.complete(completion_params("x")))["text"]
        second = await hang(old)
        await old.supervisor.restart("fake")  # in one that had
        third = await find_engine(place())
        assert third is not None and len({first, second, third.engine_pid}) == 3
        await third.close()
        await old.supervisor.close()
        await new.supervisor.close()

    asyncio.run(asyncio.wait_for(scenario(), 3 * WAIT_SECONDS))


@pytest.mark.usefixtures("engine_folders")
def test_an_engine_that_answers_no_second_hello_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "HELLO_SECONDS", 0.3)
    monkeypatch.setattr(discovery, "STOP_SECONDS", 0.2)

    async def scenario() -> None:
        other, watched = Watched(), Watched()
        await other.supervisor.warm_up("fake")
        found = await find_engine(place())
        assert found is not None
        await found.close()
        psutil.Process(found.engine_pid).suspend()
        for _ in range(2):
            with pytest.raises(Problem, match="did not answer"):
                await watched.supervisor.complete(completion_params("x"))
        watched.now += 60
        monkeypatch.setattr(client, "HELLO_SECONDS", WAIT_SECONDS)
        assert (await watched.supervisor.complete(completion_params("x")))["text"] == " + 1"
        for window in (other, watched):
            await window.supervisor.close()

    asyncio.run(asyncio.wait_for(scenario(), 3 * WAIT_SECONDS))


@pytest.mark.usefixtures("engine_folders")
def test_an_engine_that_hangs_in_mid_request_is_replaced_and_the_request_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "PING_SECONDS", 0.3)
    monkeypatch.setattr(discovery, "STOP_SECONDS", 0.2)

    async def scenario() -> None:
        watched = Watched()
        await watched.supervisor.warm_up("fake")
        found = await find_engine(place())
        assert found is not None
        await found.close()
        psutil.Process(found.engine_pid).suspend()
        results = await asyncio.gather(
            *(watched.supervisor.complete(completion_params("x", session)) for session in ("a", "b"))
        )
        assert [result["text"] for result in results] == [" + 1"] * 2
        new = await find_engine(place())
        assert new is not None and new.engine_pid != found.engine_pid
        await new.close()
        await watched.supervisor.close()

    asyncio.run(asyncio.wait_for(scenario(), 2 * WAIT_SECONDS))


@pytest.mark.usefixtures("engine_folders")
def test_an_engine_that_cannot_start_is_not_started_on_every_keystroke() -> None:
    async def scenario() -> None:
        watched = Watched("--crash")
        for _ in range(3):
            with pytest.raises(Problem, match=r"libmodel|in a row") as caught:
                await watched.supervisor.complete(completion_params("x"))
            assert caught.value.reason == "engine_lost"
        assert watched.states().count("starting") == 2
        assert watched.statuses[1]["reason"] == "engine_lost" and "libmodel" in watched.statuses[1]["message"]

    asyncio.run(scenario())


@pytest.mark.usefixtures("engine_folders")
def test_typing_on_while_the_engine_starts_starts_it_once() -> None:
    async def scenario() -> None:
        watched = Watched()
        for _ in range(5):
            task = asyncio.ensure_future(watched.supervisor.complete(completion_params("x")))
            await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.wait([task])
        assert (await watched.supervisor.complete(completion_params("x")))["text"]
        assert watched.states().count("starting") == 1
        await watched.supervisor.close()

    asyncio.run(asyncio.wait_for(scenario(), WAIT_SECONDS))
    assert "already listens" not in place().start_log_path.read_text()

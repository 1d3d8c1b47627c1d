"""The front's connection to the engine: started at the first request, restored when the engine ends.

A request that the engine's end interrupts is sent once more. An engine that ends several times in a row is started again
with a back-off, and not on every keystroke; requests meanwhile fail with the time of the next attempt.
Must not know: documents, guards, or LSP.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any, Final, cast

from green_code.endpoints import is_endpoint
from green_code.link import messages
from green_code.link.client import EngineClient
from green_code.link.discovery import ENGINE_COMMAND, end_engine, end_hanging, ensure_engine, place
from green_code.link.messages import CompletionParams, CompletionResult, Device, EnergyMessage, Hello, StatusMessage
from green_code.lock import read_note
from green_code.problems import Problem, retrieve_exception
from green_code.report import Report
from green_code.settings import default_settings

log = logging.getLogger(__name__)

FIRST_BACK_OFF_SECONDS: Final = 1.0
LAST_BACK_OFF_SECONDS: Final = 30.0

HUNG_MESSAGE: Final = (
    "The engine did not answer and was ended. The next request starts another one; see the engine's log."
)


class Supervisor:
    """One window's connection to the engine.

    Args:
        on_status: called with each state of the engine, also when it ends.
        on_energy: called with the engine's energy messages.
        on_warning: called with what the engine has to tell the user.
        command: starts an engine.
        clock: monotonic seconds; replaced in tests.
    """

    def __init__(
        self,
        on_status: Callable[[StatusMessage], None],
        on_energy: Callable[[EnergyMessage], None],
        on_warning: Callable[[str], None] = log.warning,
        command: tuple[str, ...] = ENGINE_COMMAND,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_status = on_status
        self._on_energy = on_energy
        self._on_warning = on_warning
        self._command = command
        self._clock = clock
        self.window = ""
        """The window's name, for messages to other windows."""
        self.gpu_reserve = default_settings().gpu_reserve
        """Of the settings; an engine has it from the next connection on."""
        self.reads_snippets = False
        """Whether the engine's model has a place for lines of other files."""
        self._client: EngineClient | None = None
        self._connecting: asyncio.Task[EngineClient] | None = None
        self._api_keys: dict[str, str] = {}
        self._in_flight = 0
        self._leaving = self._closed = False
        self._failures = 0
        self._next_start_at = float("-inf")
        self._silent_pid: int | None = None  # of the engine that did not answer the last hello

    async def warm_up(self, model: str, device: Device = "auto") -> None:
        """Start the engine and let it load the model; failures go to the status."""
        with contextlib.suppress(Problem):
            await self._connected(self._asks(model, device))

    async def complete(self, params: CompletionParams) -> CompletionResult:
        """Complete; sends the request once more if the engine ends meanwhile.

        Raises:
            Problem: with the engine's reason.
        """
        self._in_flight += 1
        try:
            try:
                result: CompletionResult = await self._complete(params)
            except Problem as problem:
                if problem.reason != "engine_lost":
                    raise
                log.warning("the engine ended during a request, which is sent once more")
                result = await self._complete(params)
        finally:
            self._in_flight -= 1
        self._failures = 0
        return result

    async def report(self) -> Report:
        """The energy report; starts an engine without a model if there is none."""
        report: Report = await self._request(messages.REPORT, {}, {})
        return report

    def shown(self, row_id: str, characters: int) -> None:
        """The editor shows so many characters of a completion."""
        if self._client is not None:
            self._client.notify(messages.SHOWN, {"id": row_id, "characters": characters})

    def accepted(self, row_id: str, characters: int) -> None:
        """The user accepted so many more characters of a completion."""
        if self._client is not None:
            self._client.notify(messages.ACCEPTED, {"id": row_id, "characters": characters})

    def retained(self, row_id: str) -> None:
        """An accepted completion was still in the document half a minute later."""
        if self._client is not None:
            self._client.notify(messages.RETAINED, {"id": row_id})

    def set_api_key(self, origin: str, api_key: str) -> None:
        """The API key of a server, for this engine and those after it."""
        self._api_keys[origin] = api_key
        if self._client is not None:
            self._client.notify(messages.API_KEY, {"endpoint": origin, "api_key": api_key})

    async def restart(self, model: str, device: Device = "auto") -> None:
        """End the engine and start another one, without a back-off."""
        client, self._leaving = self._client, True
        try:
            await end_engine(place())
            if client is not None:
                await client.close()
        finally:
            self._client, self._leaving = None, False
        self._failures, self._next_start_at = 0, float("-inf")
        await self._connected(self._asks(model, device))

    async def close(self) -> None:
        """Disconnect for good; the engine goes on."""
        self._leaving = self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._client is not None:
            await self._client.close()

    def _asks(self, model: str, device: Device) -> Hello:
        asks = Hello(device=device, gpu_reserve=self.gpu_reserve, window=self.window)
        if not is_endpoint(model):  # which needs its API key first
            asks["model"] = model
        return asks

    async def _complete(self, params: CompletionParams) -> CompletionResult:
        asks = self._asks(params["model"], params["device"])
        result: CompletionResult = await self._request(messages.COMPLETE, params, asks)
        return result

    async def _request(self, method: str, params: Any, asks: Hello) -> Any:
        client = await self._connected(asks)
        try:
            return await client.request(method, params)
        except Problem as problem:
            if client.hangs:
                await self._end_hanging(client)
                raise Problem("engine_lost", HUNG_MESSAGE) from problem
            if problem.reason == "engine_lost" and client.alive:
                await client.close()  # the engine said so and is about to close the connection
            raise

    async def _end_silent(self) -> None:
        """End an engine that has not answered a second hello in a row."""
        pid = (read_note(place().lock_path) or {}).get("pid")
        if pid is not None and pid == self._silent_pid:
            await asyncio.to_thread(end_hanging, place(), pid)
        self._silent_pid = pid

    async def _end_hanging(self, client: EngineClient) -> None:
        """End an engine that answers no ping; the next request starts another one."""
        await asyncio.to_thread(end_hanging, place(), client.engine_pid)
        await client.close()

    async def _connected(self, asks: Hello) -> EngineClient:
        """The connection, made in a task of its own, so that a cancelled request does not stop an engine's start."""
        if self._closed:
            raise Problem("engine_lost", "The window is closing.")
        if self._client is not None and self._client.alive:
            return self._client
        if self._connecting is None or self._connecting.done():
            if (wait_seconds := self._next_start_at - self._clock()) > 0:
                raise Problem(
                    "engine_lost",
                    f"The engine ended {self._failures} times in a row; the next attempt is "
                    f"in {wait_seconds:.0f} s. Run Green Code: Diagnose, or see the engine's log.",
                )
            self._connecting = asyncio.get_running_loop().create_task(self._connect(asks))
            self._connecting.add_done_callback(retrieve_exception)
        return await asyncio.shield(self._connecting)

    async def _connect(self, asks: Hello) -> EngineClient:
        self._show("starting", "Starting the engine", None)
        try:
            client = await ensure_engine(
                place(), asks=asks, on_notification=self._notified, on_lost=self._lost, command=self._command
            )
        except Problem as problem:
            self._count_failure()
            self._show("error", str(problem), problem.reason)
            if problem.reason == "engine_hanging":
                await self._end_silent()
            raise
        for origin, api_key in self._api_keys.items():
            client.notify(messages.API_KEY, {"endpoint": origin, "api_key": api_key})
        self._client = client
        self._notified(messages.STATUS, await client.request(messages.STATUS, {}))
        return client

    def _notified(self, method: str, params: dict[str, Any]) -> None:
        if method == messages.STATUS:
            state, message = params["state"], params["message"]
            progress, reason = params["progress"], params["reason"]
            self.reads_snippets = params["reads_snippets"]
            self._on_status(StatusMessage(state=state, message=message, progress=progress, reason=reason))
        elif method == messages.ENERGY:
            self._on_energy(cast(EnergyMessage, params))
        elif method == messages.WARNING:
            self._on_warning(params["message"])

    def _lost(self) -> None:
        if self._leaving:
            return
        self._client = None
        if self._in_flight:
            self._count_failure()
            self._show("error", "The engine ended unexpectedly; it is being restarted", "engine_lost")
        else:
            self._show("ready", "The engine is not running; it starts at the next request", None)

    def _count_failure(self) -> None:
        """After the first failure the engine may start again at once, after later ones with growing pauses."""
        pause_seconds = 0.0
        if self._failures:
            pause_seconds = min(FIRST_BACK_OFF_SECONDS * 2.0 ** (self._failures - 1), LAST_BACK_OFF_SECONDS)
        self._failures += 1
        self._next_start_at = self._clock() + pause_seconds

    def _show(self, state: messages.State, message: str, reason: str | None) -> None:
        self._on_status(StatusMessage(state=state, message=message, progress=None, reason=reason))

"""The front's hold on the engine: started on first need, found again after its death, asked once more.

Deaths in a row are answered with a back-off, so that an engine that cannot live is not started on every
keystroke; a completion that arrives in between is refused with the time of the next attempt.
Must not know: documents, guards, or LSP.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from green_code.link import messages
from green_code.link.client import EngineClient
from green_code.link.discovery import ENGINE_COMMAND, end_engine, ensure_engine, place
from green_code.link.messages import CompletionParams, CompletionResult, StatusMessage
from green_code.problems import Problem

log = logging.getLogger(__name__)

FIRST_BACK_OFF_SECONDS: Final = 1.0
LAST_BACK_OFF_SECONDS: Final = 30.0


class Supervisor:
    """One window's connection to the engine, as good as permanent.

    Args:
        on_status: told of the engine's state, its death included.
        on_energy: passed the engine's energy messages.
        command: what starts an engine.
        clock: monotonic seconds; replaced in tests.
    """

    def __init__(
        self,
        on_status: Callable[[StatusMessage], None],
        on_energy: Callable[[Mapping[str, Any]], None],
        command: tuple[str, ...] = ENGINE_COMMAND,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_status = on_status
        self._on_energy = on_energy
        self._command = command
        self._clock = clock
        self._client: EngineClient | None = None
        self._connecting: asyncio.Task[EngineClient] | None = None
        self._in_flight = 0
        self._leaving = self._closed = False
        self._deaths = 0
        self._next_start_at = float("-inf")

    async def warm_up(self, model: str) -> None:
        """Start the engine and let it load the model; failures are told through the status."""
        with contextlib.suppress(Problem):
            await self._connected(model)

    async def complete(self, params: CompletionParams) -> CompletionResult:
        """Complete; asks once more when the engine dies in between.

        Raises:
            Problem: with the engine's reason.
        """
        self._in_flight += 1
        try:
            try:
                result: CompletionResult = await self._request(messages.COMPLETE, params, params["model"])
            except Problem as problem:
                if problem.reason != "engine_lost":
                    raise
                log.warning("the engine was lost in mid-request; asking once more")
                result = await self._request(messages.COMPLETE, params, params["model"])
        finally:
            self._in_flight -= 1
        self._deaths = 0
        return result

    async def report(self) -> messages.Report:
        """The energy report; starts an engine without a model if there is none."""
        report: messages.Report = await self._request(messages.REPORT, {}, None)
        return report

    def accepted(self, row_id: str) -> None:
        """The user took a completion."""
        if self._client is not None:
            self._client.notify(messages.ACCEPTED, {"id": row_id})

    def kept(self, row_id: str) -> None:
        """An accepted completion was still there half a minute later."""
        if self._client is not None:
            self._client.notify(messages.KEPT, {"id": row_id})

    async def restart(self, model: str) -> None:
        """End the engine and start another one; forgets the back-off."""
        client, self._leaving = self._client, True
        try:
            await end_engine(place())
            if client is not None:
                await client.close()
        finally:
            self._client, self._leaving = None, False
        self._deaths, self._next_start_at = 0, float("-inf")
        await self._connected(model)

    async def close(self) -> None:
        """Leave the engine to itself, for good."""
        self._leaving = self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._client is not None:
            await self._client.close()

    async def _request(self, method: str, params: Any, model: str | None) -> Any:
        client = await self._connected(model)
        try:
            return await client.request(method, params)
        except Problem as problem:
            if problem.reason == "engine_lost" and client.alive:
                await client.close()  # it was told so by an engine that is about to hang up
            raise

    async def _connected(self, model: str | None) -> EngineClient:
        """The connection, made by a task of its own: a cancelled request does not stop an engine's start."""
        if self._closed:
            raise Problem("engine_lost", "The window is closing.")
        if self._client is not None and self._client.alive:
            return self._client
        if self._connecting is None or self._connecting.done():
            if (wait_seconds := self._next_start_at - self._clock()) > 0:
                raise Problem(
                    "engine_lost",
                    f"The engine ended {self._deaths} times in a row; it is started again "
                    f"in {wait_seconds:.0f} s. Run Green Code: Diagnose, or see the engine's log.",
                )
            self._connecting = asyncio.get_running_loop().create_task(self._connect(model))
            self._connecting.add_done_callback(_retrieve)
        return await asyncio.shield(self._connecting)

    async def _connect(self, model: str | None) -> EngineClient:
        self._say("starting", "Starting the engine", None)
        try:
            client = await ensure_engine(
                place(), model=model, on_notification=self._take, on_lost=self._lost, command=self._command
            )
        except Problem as problem:
            self._count_death()
            self._say("error", str(problem), problem.reason)
            raise
        self._client = client
        self._take(messages.STATUS, await client.request(messages.STATUS, {}))
        return client

    def _take(self, method: str, params: dict[str, Any]) -> None:
        if method == messages.STATUS:
            self._on_status(
                StatusMessage(
                    state=params["state"],
                    message=params["message"],
                    progress=params["progress"],
                    reason=params["reason"],
                )
            )
        elif method == messages.ENERGY:
            self._on_energy(params)

    def _lost(self) -> None:
        if self._leaving:
            return
        self._client = None
        if self._in_flight:
            self._count_death()
            self._say("error", "The engine ended unexpectedly; it is being restarted", "engine_lost")
        else:
            self._say("ready", "The engine is not running; it starts at the next request", None)

    def _count_death(self) -> None:
        """The first death is met with a new start at once, later ones with growing pauses."""
        pause_seconds = 0.0
        if self._deaths:
            pause_seconds = min(FIRST_BACK_OFF_SECONDS * 2.0 ** (self._deaths - 1), LAST_BACK_OFF_SECONDS)
        self._deaths += 1
        self._next_start_at = self._clock() + pause_seconds

    def _say(self, state: messages.State, message: str, reason: str | None) -> None:
        self._on_status(StatusMessage(state=state, message=message, progress=None, reason=reason))


def _retrieve(task: asyncio.Task[EngineClient]) -> None:
    """Look at a failed start, which nobody may be waiting for; it has been told through the status."""
    if not task.cancelled():
        task.exception()

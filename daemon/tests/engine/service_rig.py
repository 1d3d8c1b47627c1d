"""A service behind a real socket, with a clock, a loader and a ledger that the test controls."""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from green_code.energy.ledger import Ledger
from green_code.engine.service import Service
from green_code.link import messages, transport
from green_code.link.client import EngineClient, open_client
from green_code.link.server import LinkServer
from green_code.problems import Problem
from tests.engine.fake_runtime import WAIT_SECONDS, FakeLoader, completion_params


class Rig:
    """A service behind a socket, or on Windows behind a pipe. The API keys of servers are those that clients have sent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = transport.PIPE_PREFIX + uuid.uuid4().hex if sys.platform == "win32" else str(folder / "s")
        self.loader = FakeLoader()
        self.ledger = Ledger(folder / "data" / "energy.sqlite3")
        self.now = 0.0
        self.stopped = asyncio.Event()
        self.api_keys: dict[str, str] = {}
        self.service = Service(
            self.loader,
            self.ledger,
            folder / "losses",
            self.stopped.set,
            clock=lambda: self.now,
            api_keys=self.api_keys,
        )
        self.server = LinkServer(self.service)
        self.clients: list[EngineClient] = []
        self.notifications: list[tuple[str, dict[str, Any]]] = []

    async def client(self, model: str | None = None, window: str = "") -> EngineClient:
        asks: messages.Hello = {"window": window} if model is None else {"model": model, "window": window}
        client = await open_client(
            self.address, asks=asks, on_notification=lambda method, value: self.notifications.append((method, value))
        )
        self.clients.append(client)
        return client

    def open_gates(self) -> None:
        self.loader.loaded.set()
        self.loader.gate.set()

    def notified(self, method: str) -> list[Any]:
        return [value for name, value in self.notifications if name == method]

    def states(self) -> list[str]:
        return [value["state"] for value in self.notified(messages.STATUS)]

    def rows(self) -> list[tuple[Any, ...]]:
        return [(row.reason, row.language, row.tokens, row.accepted) for row in self.ledger.rows()]


async def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.005)


def complete(client: EngineClient, *args: Any, **kwargs: Any) -> asyncio.Task[Any]:
    return asyncio.ensure_future(client.request(messages.COMPLETE, completion_params(*args, **kwargs)))


async def reason_of(task: asyncio.Task[Any]) -> str:
    with pytest.raises(Problem) as caught:
        await asyncio.wait_for(task, WAIT_SECONDS)
    return caught.value.reason

"""A service behind a real socket, with its clock, loader and ledger in a test's hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_runtime import WAIT_SECONDS, FakeLoader

from green_code.energy.ledger import Ledger
from green_code.engine.service import Service
from green_code.link import messages
from green_code.link.client import EngineClient, open_client
from green_code.link.server import LinkServer
from green_code.problems import Problem


def params(prefix: str = "x = 1", session: str = "a", **changes: Any) -> dict[str, Any]:
    return {
        "session": session,
        "prefix": prefix,
        "suffix": "",
        "language": "python",
        "model": "fake",
        "decoding": "fast",
        "policy": "agent",
        "threshold": 0.8,
        "max_tokens": 16,
        "single_line": True,
        "max_lines": 1,
        "max_prompt_tokens": 512,
        **changes,
    }


class Rig:
    """A service behind a socket, with its clock, loader and ledger in hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = str(folder / "s")
        self.loader = FakeLoader()
        self.ledger = Ledger(folder / "data" / "energy.sqlite3")
        self.now = 0.0
        self.stopped = asyncio.Event()
        self.service = Service(self.loader, self.ledger, self.stopped.set, clock=lambda: self.now)
        self.server = LinkServer(self.service)
        self.clients: list[EngineClient] = []
        self.heard: list[tuple[str, dict[str, Any]]] = []

    async def client(self, model: str | None = None) -> EngineClient:
        client = await open_client(
            self.address,
            model=model,
            on_notification=lambda method, value: self.heard.append((method, value)),
        )
        self.clients.append(client)
        return client

    def open_gates(self) -> None:
        self.loader.loaded.set()
        self.loader.gate.set()

    def states(self) -> list[str]:
        return [value["state"] for method, value in self.heard if method == messages.STATUS]

    def rows(self) -> list[tuple[Any, ...]]:
        return self.ledger._run(
            "SELECT reason, language, tokens, accepted FROM completions ORDER BY time", ()
        )


async def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.005)


def ask(client: EngineClient, *args: Any, **kwargs: Any) -> asyncio.Task[Any]:
    return asyncio.ensure_future(client.request(messages.COMPLETE, params(*args, **kwargs)))


async def reason_of(task: asyncio.Task[Any]) -> str:
    with pytest.raises(Problem) as caught:
        await asyncio.wait_for(task, WAIT_SECONDS)
    return caught.value.reason

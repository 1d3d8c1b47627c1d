"""A server in the place of a local model: what the front tells the engine of it, and when."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from green_code.link import messages
from green_code.lsp import supervisor as module
from green_code.lsp.front import Front
from green_code.lsp.supervisor import Supervisor

ADDRESS = "https://AI.example.com/v1#coder"
ORIGIN = "https://ai.example.com:443"


class Engine:
    """An engine's client that notes what it is sent."""

    def __init__(self) -> None:
        self.alive = True
        self.sent: list[tuple[str, Any]] = []

    def notify(self, method: str, params: Any) -> None:
        self.sent.append((method, params))

    async def request(self, method: str, params: Any) -> dict[str, Any]:
        self.sent.append((method, params))
        return {"state": "ready", "message": "", "progress": None, "reason": None, "reads_snippets": False}


def test_each_engine_gets_the_key_after_a_hello_that_names_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    engines, hellos = list[Engine](), list[Any]()

    async def ensure_engine(place: Any, asks: Any, **_: Any) -> Engine:
        hellos.append(asks)
        engines.append(Engine())
        return engines[-1]

    monkeypatch.setattr(module, "ensure_engine", ensure_engine)

    async def scenario() -> None:
        found = Supervisor(lambda status: None, lambda energy: None)
        front = Front(lambda status: None, lambda energy: None, supervisor=lambda *_: found)
        assert front.configure({"endpoint": ADDRESS, "gpuReserve": 2.5}) == []
        front.set_api_key(ADDRESS, "sk-1")
        front.set_api_key("nonsense", "sk-2")
        await front.begin()
        front.set_api_key(ADDRESS, "sk-3")
        engines[-1].alive = False
        await found.warm_up(ADDRESS)

    asyncio.run(scenario())
    key = {"endpoint": ORIGIN, "api_key": "sk-1"}
    renewed = {"endpoint": ORIGIN, "api_key": "sk-3"}
    assert all("model" not in asks and asks["gpu_reserve"] == 2.5 for asks in hellos) and len(hellos) == 2
    assert engines[0].sent == [(messages.API_KEY, key), (messages.STATUS, {}), (messages.API_KEY, renewed)]
    assert engines[1].sent == [(messages.API_KEY, renewed), (messages.STATUS, {})]


def test_requests_name_the_server_and_without_it_the_model() -> None:
    requests = list[Any]()

    class Scripted(Supervisor):
        async def complete(self, params: Any) -> Any:
            requests.append(params)
            raise module.Problem("endpoint_failed", "ai.example.com does not answer.")

    async def scenario() -> None:
        front = Front(lambda status: None, lambda energy: None, supervisor=Scripted)
        front.open("file:///a.py", "python", "x = 1\n")
        front.configure({"endpoint": ADDRESS})
        assert await front.complete("file:///a.py", 0, 5, automatic=False) is None
        assert front.explain()["reason"] == "endpoint_failed"
        assert front.explain()["message"] == "ai.example.com does not answer."
        front.configure({})
        await front.complete("file:///a.py", 0, 5, automatic=False)

    asyncio.run(scenario())
    assert [params["model"] for params in requests] == [ADDRESS, "gemma-3-270m"]

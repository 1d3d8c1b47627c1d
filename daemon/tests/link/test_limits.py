"""What peers can make the engine hold: connections, silence, and frames that are never finished."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from green_code import __version__
from green_code.link import framing, server, transport
from green_code.link.messages import PROTOCOL

WAIT_SECONDS = 60.0
HELLO = framing.encode({"id": 1, "method": "hello", "params": {"protocol": PROTOCOL, "version": __version__}})
UNFINISHED = framing.LIMIT_BYTES.to_bytes(4, "big") + bytes(200_000)


class Silent:
    """A handler that knows no method."""

    def hello(self, connection: server.Connection, params: dict[str, Any]) -> str:
        return "ready"

    def request(self, connection: server.Connection, request_id: int, method: str, params: dict[str, Any]) -> Any:
        raise AssertionError(method)

    def notification(self, connection: server.Connection, method: str, params: dict[str, Any]) -> None:
        raise AssertionError(method)

    def disconnected(self, connection: server.Connection) -> None:
        pass


@pytest_asyncio.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    where = transport.PIPE_PREFIX + uuid.uuid4().hex if sys.platform == "win32" else str(tmp_path / "s")
    listening = server.LinkServer(Silent())
    await listening.start(where)
    yield where
    await listening.stop()


async def sent(address: str, data: bytes) -> transport.Streams:
    reader, writer = await transport.connect(address)
    writer.write(data)
    return reader, writer


async def is_closed(reader: asyncio.StreamReader) -> bool:
    """Whether the engine closes the connection; what it has sent before is read."""
    try:
        await asyncio.wait_for(reader.read(-1), WAIT_SECONDS)
    except ConnectionResetError:
        return True
    except asyncio.TimeoutError:
        return False
    return True


async def greeted(address: str, more: bytes = b"") -> transport.Streams:
    reader, writer = await sent(address, HELLO)
    length = int.from_bytes(await reader.readexactly(4), "big")
    await reader.readexactly(length)
    writer.write(more)
    return reader, writer


@pytest.mark.asyncio
async def test_a_connection_without_a_hello_ends(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HELLO_SECONDS", 0.05)
    for data in (b"", HELLO[:20]):
        reader, writer = await sent(address, data)
        assert await is_closed(reader)
        await transport.close(writer)
    reader, writer = await greeted(address)
    await asyncio.sleep(0.1)
    assert not reader.at_eof(), "one with a hello stays"
    await transport.close(writer)


@pytest.mark.asyncio
async def test_before_the_hello_little_is_held(address: str) -> None:
    reader, writer = await sent(address, UNFINISHED)
    assert await is_closed(reader)
    await transport.close(writer)


@pytest.mark.asyncio
async def test_unfinished_frames_are_bounded_in_all(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "UNFINISHED_BYTES", 300_000)
    reader, writer = await greeted(address, UNFINISHED)
    late, late_writer = await greeted(address, UNFINISHED)
    assert await is_closed(late) or await is_closed(reader)
    await transport.close(late_writer)
    await transport.close(writer)
    reader, writer = await greeted(address, UNFINISHED)
    await asyncio.sleep(0.05)
    assert not reader.at_eof(), "there is room again"
    await transport.close(writer)


@pytest.mark.asyncio
async def test_connections_are_limited(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTIONS_AT_MOST", 2)
    kept = [await greeted(address) for _ in range(2)]
    reader, writer = await sent(address, HELLO)
    assert await is_closed(reader)
    await transport.close(writer)
    await transport.close(kept[0][1])
    await asyncio.sleep(0.05)
    kept.append(await asyncio.wait_for(greeted(address), WAIT_SECONDS))
    for _, writer in kept:
        await transport.close(writer)


@pytest.mark.asyncio
async def test_without_memory_for_a_message_its_sender_goes_on_and_the_peer_does_not_wait(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    greeting, known = Silent.hello, list[server.Connection]()
    monkeypatch.setattr(Silent, "hello", lambda *given: known.append(given[1]) or greeting(*given))
    reader, writer = await greeted(address)

    def no_memory(message: framing.Message) -> bytes:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(framing, "encode", no_memory)
        known[0].notify("status", {})
    assert await is_closed(reader)
    await transport.close(writer)

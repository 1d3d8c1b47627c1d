"""A server behind the service: back-off, API keys, the ledger, and models of this machine beside it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from green_code.engine.back_off import FIRST_BACK_OFF_SECONDS
from green_code.engine.remote.runtime import connect
from green_code.link import messages
from green_code.problems import Problem
from tests.engine.fake_runtime import WAIT_SECONDS
from tests.engine.remote.serving import Handler, Serving, openai, serving, streams
from tests.engine.service_rig import Rig, complete, reason_of, until

API_KEY = "sk-very-secret"
FINE = streams([openai(" + b", -0.1), openai("", finish_reason="stop")])


@pytest.fixture
def server(rig: Rig) -> Iterator[Serving]:
    with serving() as found:
        rig.loader.connect = lambda address: connect(address, rig.api_keys)
        rig.open_gates()
        yield found


async def message_of(task: asyncio.Task[Any]) -> str:
    with pytest.raises(Problem) as caught:
        await asyncio.wait_for(task, WAIT_SECONDS)
    assert caught.value.reason == "endpoint_failed"
    return str(caught.value)


@pytest.mark.asyncio
async def test_its_completions_are_rows_without_joules(rig: Rig, server: Serving) -> None:
    server.answers["/v1/completions"] = FINE
    client = await rig.client()
    result = await complete(client, "a", model=server.address)
    assert result["text"] == " + b" and result["energy_source"] == "unknown"
    status = await client.request(messages.STATUS, {})
    assert (status["model"], status["device"], status["state"]) == (server.address, "remote", "ready")
    await until(lambda: rig.notified(messages.ENERGY))
    session = rig.notified(messages.ENERGY)[-1]["session"]
    assert (session["completions"], session["unmeasured"], session["source"]) == (1, 1, "unknown")
    [row] = rig.ledger.rows()
    assert (row.decoding, row.model, row.energy_joules) == ("full", server.address, 0.0)


@pytest.mark.asyncio
async def test_after_a_failure_it_is_left_alone_for_a_while_and_longer_each_time(rig: Rig, server: Serving) -> None:
    server.answers["/v1/completions"] = lambda handler: handler.reply(500, b"")
    client = await rig.client()
    for wait_seconds in (FIRST_BACK_OFF_SECONDS, 2 * FIRST_BACK_OFF_SECONDS):
        assert "error 500" in await message_of(complete(client, "a", model=server.address))
        asked = len(server.requests)
        assert "error 500" in await message_of(complete(client, "a", model=server.address))
        status = await client.request(messages.STATUS, {})
        assert (status["state"], status["reason"]) == ("error", "endpoint_failed") and len(server.requests) == asked
        rig.now += wait_seconds
    server.answers["/v1/completions"] = FINE
    assert (await complete(client, "a", model=server.address))["text"] == " + b"
    server.answers["/v1/completions"] = lambda handler: handler.reply(429, b"", Retry_After="30")
    assert "no time" in await message_of(complete(client, "a", model=server.address))
    asked = len(server.requests)
    rig.now += 29
    assert "no time" in await message_of(complete(client, "a", model=server.address))
    assert len(server.requests) == asked


@pytest.mark.asyncio
async def test_a_prompt_that_it_refuses_closes_it_for_nobody(rig: Rig, server: Serving) -> None:
    server.answers["/v1/completions"] = lambda handler: handler.reply(400, b"")
    client, other = await rig.client(), await rig.client()
    assert "refuses this prompt (400)" in await message_of(complete(client, "a", model=server.address))
    status = await client.request(messages.STATUS, {})
    assert (status["state"], status["model"]) == ("ready", server.address)
    server.answers["/v1/completions"] = FINE
    assert (await complete(other, "a", model=server.address))["text"] == " + b"
    assert sum(path == "/v1/models" for path, *_ in server.requests) == 1, "it is connected still"


@pytest.mark.asyncio
async def test_an_api_key_that_comes_is_tried_at_once_and_stands_nowhere(
    rig: Rig, server: Serving, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def guarded(handler: Handler) -> None:
        if handler.headers.get("Authorization") == f"Bearer {API_KEY}":
            FINE(handler)
        else:
            handler.reply(401, b"")

    server.answers["/v1/completions"] = guarded
    client = await rig.client()
    assert "wants an API key (401)" in await message_of(complete(client, "a", model=server.address))
    client.notify(messages.API_KEY, {"endpoint": server.origin, "api_key": API_KEY})
    assert (await complete(client, "a", model=server.address))["text"] == " + b"
    client.notify(
        messages.API_KEY, {"endpoint": server.origin, "api_key": f"{API_KEY}\n"}
    )  # no API key has a line break
    assert (await complete(client, "b", model=server.address))["text"] == " + b"
    client.notify(messages.API_KEY, {"endpoint": server.origin, "api_key": ""})
    assert "wants an API key" in await message_of(complete(client, "c", model=server.address))
    rig.ledger.report()  # all is written
    assert API_KEY not in caplog.text and "no API key has" in caplog.text
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert server.address.encode() in written and API_KEY.encode() not in written


@pytest.mark.asyncio
async def test_while_it_hangs_models_of_this_machine_answer(rig: Rig, server: Serving) -> None:
    asked, go = threading.Event(), threading.Event()

    def hang(handler: Handler) -> None:
        asked.set()
        go.wait(WAIT_SECONDS)

    server.answers["/v1/completions"] = hang
    remote, local = await rig.client(), await rig.client()
    waiting = complete(remote, "a", model=server.address, session="remote")
    await until(asked.is_set)
    assert (await complete(local, "x"))["text"] == " + 1"
    newer = complete(remote, "ab", model=server.address, session="remote")
    assert await reason_of(waiting) == "superseded"
    server.answers["/v1/completions"] = FINE
    go.set()
    newer.cancel()
    assert (await complete(remote, "abc", model=server.address, session="remote"))["text"] == " + b"

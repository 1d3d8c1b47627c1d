"""The service with a fake model, unused: memory is given back step by step, and at last the process ends."""

from __future__ import annotations

import pytest

from green_code.engine import idle
from tests.engine.service_rig import Rig, complete, until


@pytest.mark.asyncio
async def test_the_idle_ladder_trims_releases_and_ends(rig: Rig) -> None:
    client = await rig.client()
    rig.open_gates()
    await complete(client)
    await until(lambda: not rig.service._work)
    runtime = rig.loader.runtimes[0]
    rig.now += idle.TRIM_SECONDS
    rig.service.idle_tick()
    await until(lambda: runtime.sessions[0].trimmed)
    assert not runtime.closed.is_set()
    rig.now += idle.RELEASE_SECONDS - idle.TRIM_SECONDS
    rig.service.idle_tick()
    await until(runtime.closed.is_set)
    assert not rig.stopped.is_set() and rig.service.notifications.status()["model"] is None
    await complete(client)
    assert len(rig.loader.runtimes) == 2, "a released model comes back"
    await until(lambda: not rig.service._work)
    rig.now += idle.EXIT_SECONDS
    rig.service.idle_tick()
    assert rig.stopped.is_set()


@pytest.mark.asyncio
async def test_an_engine_ends_soon_after_its_last_peer_has_left_and_not_before(rig: Rig) -> None:
    rig.open_gates()
    first, second = await rig.client(), await rig.client()
    await first.close()
    await until(lambda: len(rig.service._peers) == 1)
    rig.now += idle.LEFT_SECONDS
    rig.service.idle_tick()
    assert not rig.stopped.is_set(), "another window uses it"
    await second.close()
    await until(lambda: not rig.service._peers)
    third = await rig.client()  # a reloaded window
    rig.now += idle.LEFT_SECONDS
    rig.service.idle_tick()
    assert not rig.stopped.is_set()
    await third.close()
    await until(lambda: not rig.service._peers)
    rig.now += idle.LEFT_SECONDS
    rig.service.idle_tick()
    assert rig.stopped.is_set()


@pytest.mark.asyncio
async def test_an_engine_that_no_peer_ever_greets_ends(rig: Rig) -> None:
    rig.now += idle.LEFT_SECONDS
    rig.service.idle_tick()
    assert rig.stopped.is_set()


@pytest.mark.asyncio
async def test_a_busy_engine_is_not_idle(rig: Rig) -> None:
    client = await rig.client()
    rig.loader.loaded.set()
    task = complete(client)
    await until(lambda: rig.loader.runtimes and rig.loader.runtimes[0].started)
    rig.now += 10 * idle.EXIT_SECONDS
    rig.service.idle_tick()
    assert not rig.stopped.is_set()
    rig.loader.gate.set()
    assert (await task)["text"]

"""Windows with different models: who waits for whom, and who gives way where memory is scarce."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from green_code.engine import idle, models
from green_code.engine.back_off import LAST_BACK_OFF_SECONDS
from green_code.engine.holder import STALLED_SECONDS
from green_code.link import messages
from green_code.problems import Problem
from tests.engine.fake_runtime import WAIT_SECONDS
from tests.engine.service_rig import Rig, complete, reason_of, until


async def text(client: Any, model: str) -> str:
    result: dict[str, str] = await asyncio.wait_for(complete(client, session=model, model=model), WAIT_SECONDS)
    return result["text"]


@pytest.mark.asyncio
async def test_a_load_that_hangs_blocks_its_own_window_alone(rig: Rig) -> None:
    rig.open_gates()
    drive = rig.loader.held["dead"] = threading.Event()
    one = await rig.client(model="dead")
    waiting = complete(one, model="dead")
    await until(lambda: rig.loader.calls == ["dead"])
    other = await asyncio.wait_for(rig.client(model="fake"), WAIT_SECONDS)
    assert await text(other, "fake")
    assert (await other.request(messages.STATUS, {}))["state"] == "ready"
    assert (await one.request(messages.STATUS, {}))["state"] == "loading"
    rig.now += STALLED_SECONDS
    rig.service.idle_tick()
    with pytest.raises(Problem, match="no progress") as caught:
        await asyncio.wait_for(waiting, WAIT_SECONDS)
    assert caught.value.reason == "engine_starting"
    assert (await one.request(messages.STATUS, {}))["state"] == "error"
    assert await text(other, "fake")
    drive.set()
    await until(lambda: len(rig.loader.runtimes) == 2)
    assert await text(one, "dead"), "the drive is back"


@pytest.mark.asyncio
async def test_a_load_that_hangs_does_not_keep_the_engine_alive(rig: Rig) -> None:
    rig.loader.held["dead"] = threading.Event()
    rig.open_gates()
    client = await rig.client(model="dead")
    await until(lambda: rig.loader.calls)
    await client.close()
    await until(lambda: not rig.service._peers)
    for seconds in (idle.LEFT_SECONDS, STALLED_SECONDS):
        assert not rig.stopped.is_set()
        rig.now += seconds
        rig.service.idle_tick()
    assert rig.stopped.is_set()
    rig.loader.held["dead"].set()


@pytest.mark.asyncio
async def test_loads_that_hang_do_not_pile_up(rig: Rig) -> None:
    rig.open_gates()
    client, other, drive = await rig.client(), await rig.client(), threading.Event()
    names = [f"dead{number}" for number in range(models.STALLED_AT_MOST)]
    rig.loader.held.update(dict.fromkeys(names, drive))
    for first in range(0, len(names), models.LOADS_AT_ONCE):
        some = names[first : first + models.LOADS_AT_ONCE]
        waiting = [complete(client, session=name, model=name) for name in some]
        await until(lambda some=some: set(some) <= set(rig.loader.calls))
        if first == 0:
            with pytest.raises(Problem, match=r"loads 4 other models; try again in a moment"):
                await text(other, "fake")
        rig.now += STALLED_SECONDS
        rig.service.idle_tick()
        assert {await reason_of(one) for one in waiting} == {"engine_starting"}
        if first == 0:
            assert await text(other, "fake"), "loads without progress do not count"
    assert await text(other, "fake"), "what is loaded serves"
    with pytest.raises(Problem, match=r"Loading 12 other models makes no progress.* Restart Engine"):
        await text(client, "other")
    drive.set()
    await until(lambda: len(rig.loader.runtimes) == 1 + len(names))
    assert await text(client, "other") and await text(client, names[0])


@pytest.mark.asyncio
async def test_a_wrong_name_leaves_the_model_that_serves(rig: Rig) -> None:
    rig.open_gates()
    rig.loader.problems["wrong"] = Problem("model_missing", "model wrong is not here.")
    client = await rig.client()
    assert await text(client, "fake")
    assert await reason_of(complete(client, model="wrong")) == "model_missing"
    assert await text(client, "fake")
    assert rig.loader.calls == ["fake", "wrong"] and not rig.loader.runtimes[0].closed.is_set()


@pytest.mark.asyncio
async def test_two_models_stay_while_memory_has_room_and_each_window_sees_its_own(rig: Rig) -> None:
    rig.open_gates()
    windows = {name: await rig.client(model=name) for name in ("fake", "other")}
    for name, client in (*windows.items(), *windows.items()):
        assert await text(client, name)
        assert (await client.request(messages.STATUS, {}))["model"] == name
    assert sorted(rig.loader.calls) == ["fake", "other"]
    await windows["other"].close()
    await until(lambda: len(rig.service._peers) == 1)
    rig.now += idle.LEFT_SECONDS
    rig.service.idle_tick()
    closed = {runtime.model: runtime.closed for runtime in rig.loader.runtimes}
    await until(closed["other"].is_set)
    assert not closed["fake"].is_set()


@pytest.fixture
def scarce(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is room for one of the two models."""
    gib = 1 << 30
    rig.loader.sizes = {"fake": 3 * gib, "other": 3 * gib, "huge": 9 * gib}

    def available() -> int:
        loaded = [runtime.model for runtime in rig.loader.runtimes if not runtime.closed.is_set()]
        return 5 * gib - sum(rig.loader.sizes[model] for model in loaded)

    monkeypatch.setattr(models, "available_memory", available)


@pytest.mark.asyncio
@pytest.mark.usefixtures("scarce")
async def test_where_memory_is_scarce_the_model_that_was_asked_for_later_stays(rig: Rig) -> None:
    rig.open_gates()
    left = await rig.client(model="fake", window="left")
    assert await text(left, "fake")
    right = await rig.client(model="other", window="right")
    assert await text(right, "other")
    assert rig.loader.runtimes[0].closed.is_set()
    for _ in range(3):  # however much is typed in the first window, and however long
        with pytest.raises(Problem, match="the window right") as caught:
            await text(left, "fake")
        assert caught.value.reason == "no_memory"
        rig.now += LAST_BACK_OFF_SECONDS
    status = await left.request(messages.STATUS, {})
    assert (status["state"], status["reason"]) == ("error", "no_memory") and "the window right" in status["message"]
    assert await text(right, "other") and not rig.loader.runtimes[1].closed.is_set()
    await right.close()
    await until(lambda: len(rig.service._peers) == 1)
    rig.now += LAST_BACK_OFF_SECONDS
    assert await text(left, "fake"), "the other window is gone"


@pytest.mark.asyncio
@pytest.mark.usefixtures("scarce")
async def test_a_model_that_cannot_be_served_beside_a_later_one_evicts_nothing(rig: Rig) -> None:
    rig.open_gates()
    hold = rig.loader.held["huge"] = threading.Event()
    left = await rig.client(model="huge")
    waiting = complete(left, model="huge")
    await until(lambda: rig.loader.calls)
    right = await rig.client(model="fake")
    assert await text(right, "fake")
    hold.set()
    assert await reason_of(waiting) == "no_memory"
    assert not rig.loader.runtimes[0].closed.is_set() and await text(right, "fake")


@pytest.mark.asyncio
@pytest.mark.usefixtures("scarce")
async def test_one_window_may_change_its_model_where_memory_is_scarce(rig: Rig) -> None:
    rig.open_gates()
    client = await rig.client(model="fake")
    for name in ("fake", "other", "huge"):
        assert await text(client, name), "the last one is paged by the system"

"""The service with a fake model: what loads it, when it is loaded again, and what a failure leaves."""

from __future__ import annotations

import asyncio

import pytest

from green_code.engine import notifications
from green_code.engine.back_off import FIRST_BACK_OFF_SECONDS
from green_code.problems import Problem
from tests.engine.fake_runtime import WAIT_SECONDS, FakeRuntime
from tests.engine.service_rig import Rig, complete, reason_of, until


@pytest.mark.asyncio
async def test_hello_with_a_model_loads_it_without_a_request(rig: Rig) -> None:
    rig.open_gates()
    await rig.client(model="fake")
    await until(lambda: "ready" in rig.states())
    assert rig.loader.calls == ["fake"]


@pytest.mark.asyncio
async def test_loading_survives_the_request_that_began_it(rig: Rig) -> None:
    client = await rig.client()
    task = complete(client)
    await until(lambda: rig.loader.calls)
    task.cancel()
    await asyncio.wait([task])
    rig.open_gates()
    await until(lambda: "ready" in rig.states())
    await asyncio.wait_for(complete(client), WAIT_SECONDS)
    assert rig.loader.calls == ["fake"]


@pytest.mark.asyncio
async def test_a_failed_load_is_reported_and_tried_again_after_a_pause(rig: Rig) -> None:
    client = await rig.client()
    rig.loader.problem = Problem("model_missing", "The model is not installed. Install it.")
    rig.loader.loaded.set()
    assert await reason_of(complete(client)) == "model_missing"
    assert (
        rig.service.notifications.status()["state"] == "error"
        and rig.service.notifications.status()["reason"] == "model_missing"
    )
    assert await reason_of(complete(client)) == "model_missing"
    assert rig.loader.calls == ["fake"], "within the back-off nothing is loaded"
    rig.service.bundles_changed({"fake"})
    assert await reason_of(complete(client)) == "model_missing"
    assert rig.loader.calls == ["fake", "fake"], "but a changed bundle is tried at once"
    rig.now += FIRST_BACK_OFF_SECONDS
    rig.loader.problem = None
    rig.loader.gate.set()
    assert (await asyncio.wait_for(complete(client), WAIT_SECONDS))["text"]
    assert rig.loader.calls == ["fake", "fake", "fake"]


@pytest.mark.asyncio
async def test_a_crash_while_loading_is_an_internal_error_with_its_cause(rig: Rig) -> None:
    client = await rig.client()
    rig.loader.problem = OSError("disk on fire")
    rig.loader.loaded.set()
    with pytest.raises(Problem, match="disk on fire") as caught:
        await complete(client)
    assert caught.value.reason == "internal_error"


@pytest.mark.asyncio
async def test_a_request_is_answered_although_nobody_can_be_told_of_its_loading(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without memory the status cannot be made; whoever waits for the model must not wait for good."""

    def no_memory() -> int:
        raise MemoryError

    client = await rig.client()
    rig.open_gates()
    with monkeypatch.context() as patch:
        patch.setattr(notifications, "_resident_bytes", no_memory)
        assert await asyncio.wait_for(reason_of(complete(client)), WAIT_SECONDS) == "no_memory"
    rig.now += FIRST_BACK_OFF_SECONDS
    assert (await asyncio.wait_for(complete(client), WAIT_SECONDS))["text"]


@pytest.mark.asyncio
async def test_another_model_replaces_the_loaded_one(rig: Rig) -> None:
    client = await rig.client()
    rig.open_gates()
    await complete(client)
    await complete(client, model="other")
    assert rig.loader.runtimes[0].closed.is_set() and not rig.loader.runtimes[1].closed.is_set()


@pytest.mark.asyncio
async def test_two_models_requested_at_once_are_loaded_once_each(rig: Rig) -> None:
    client = await rig.client()
    tasks = [complete(client), complete(client, session="b", model="other"), complete(client, session="c")]
    await until(lambda: rig.loader.calls)
    rig.open_gates()
    for task in tasks:
        assert (await asyncio.wait_for(task, WAIT_SECONDS))["text"]
    assert rig.loader.calls in (["fake", "other"], ["fake", "other", "fake"])


@pytest.mark.asyncio
async def test_a_changed_bundle_is_taken_up_without_dropping_a_request(rig: Rig) -> None:
    client = await rig.client()
    rig.loader.loaded.set()
    running = complete(client)
    await until(lambda: rig.loader.runtimes and rig.loader.runtimes[0].started)
    rig.service.bundles_changed({"another"})
    rig.service.bundles_changed({"fake"})
    await until(lambda: len(rig.loader.runtimes) == 2)
    waiting = complete(client, session="b")
    rig.loader.gate.set()
    assert (await running)["text"] and (await waiting)["text"]
    assert (await complete(client, "new"))["text"]
    old, new = rig.loader.runtimes
    await until(old.closed.is_set)
    assert new.started[-1] == "new" and not new.closed.is_set()
    assert rig.loader.calls == ["fake", "fake"]


@pytest.mark.asyncio
async def test_a_bundle_that_lost_its_manifest_leaves_the_one_in_use(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await rig.client()
    rig.open_gates()
    await complete(client)
    monkeypatch.setattr(FakeRuntime, "bundle", "")
    rig.loader.runtimes[0].bundle = "fake"
    rig.service.bundles_changed({"fake"})
    await until(lambda: rig.service.notifications.status()["reason"] == "bundle_invalid")
    assert "is gone" in rig.service.notifications.status()["message"]
    await until(rig.loader.runtimes[1].closed.is_set)
    assert (await complete(client, "again"))["text"] and rig.loader.runtimes[0].started[-1] == "again"


@pytest.mark.asyncio
async def test_a_bundle_that_is_refused_leaves_the_one_in_use(rig: Rig) -> None:
    client = await rig.client()
    rig.open_gates()
    await complete(client)
    rig.loader.problem = Problem("bundle_invalid", "The sha256 differs. Fetch it again.")
    rig.service.bundles_changed({"fake"})
    await until(lambda: rig.service.notifications.status()["reason"] == "bundle_invalid")
    status = rig.service.notifications.status()
    assert status["state"] == "ready" and "stays" in status["message"] and status["model"] == "fake"
    assert (await complete(client))["text"]
    assert not rig.loader.runtimes[0].closed.is_set()

"""The watcher of bundles: changes are reported once, by bundle; reading is no change."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from green_code.engine.reload import BundleWatcher
from green_code.models.bundle import changing
from green_code.problems import Problem
from tests.engine.service_rig import Rig, complete, until

WAIT_SECONDS = 60.0


@pytest.mark.asyncio
async def test_changes_are_reported_by_bundle_and_reading_is_none(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "manifest.json").write_text("{}")
    changed: asyncio.Queue[set[str]] = asyncio.Queue()
    watcher = BundleWatcher(tmp_path, changed.put_nowait, quiet_seconds=0.1)
    watcher.start()
    try:
        (tmp_path / "one" / "manifest.json").read_text()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(changed.get(), 0.3)
        (tmp_path / "one" / "manifest.json").write_text("{ }")
        (tmp_path / "two").mkdir()
        assert await asyncio.wait_for(changed.get(), WAIT_SECONDS) == {"one", "two"}
        (tmp_path / "two" / "a.part").write_text("x")
        (tmp_path / "two" / "a.part").rename(tmp_path / "two" / "a")
        assert await asyncio.wait_for(changed.get(), WAIT_SECONDS) == {"two"}
    finally:
        watcher.stop()


@pytest.mark.asyncio
async def test_the_first_bundle_in_a_folder_that_was_missing_is_noticed(tmp_path: Path) -> None:
    changed: asyncio.Queue[set[str]] = asyncio.Queue()
    watcher = BundleWatcher(tmp_path / "data" / "none", changed.put_nowait, quiet_seconds=0.1)
    watcher.start()
    try:
        (tmp_path / "data" / "none" / "one").mkdir()
        assert await asyncio.wait_for(changed.get(), WAIT_SECONDS) == {"one"}
    finally:
        watcher.stop()


@pytest.mark.asyncio
async def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    watcher = BundleWatcher(tmp_path / "file" / "bundles", lambda names: None)
    watcher.start()
    watcher.stop()


@pytest.mark.asyncio
async def test_a_removed_bundle_is_reported_when_it_is_back(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    changed: asyncio.Queue[set[str]] = asyncio.Queue()
    watcher = BundleWatcher(tmp_path, changed.put_nowait, quiet_seconds=0.1)
    watcher.start()
    try:
        (tmp_path / "one").rmdir()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(changed.get(), 0.5)
        (tmp_path / "one").mkdir()
        assert await asyncio.wait_for(changed.get(), WAIT_SECONDS) == {"one"}
    finally:
        watcher.stop()


@pytest.mark.asyncio
async def test_a_bundle_that_takes_another_ones_place_is_reported_each_time(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    changed: asyncio.Queue[set[str]] = asyncio.Queue()
    watcher = BundleWatcher(tmp_path, changed.put_nowait, quiet_seconds=0.1)
    watcher.start()
    try:
        for number in range(3):
            with changing(tmp_path / "one") as folder:
                (folder / "gate.json").write_text(str(number))
            assert await asyncio.wait_for(changed.get(), WAIT_SECONDS) == {"one"}
        (tmp_path / "one" / "gate.json").write_text("by hand")
        assert await asyncio.wait_for(changed.get(), WAIT_SECONDS) == {"one"}
    finally:
        watcher.stop()


@pytest.mark.asyncio
async def test_under_load_a_changed_agent_is_in_use_within_two_seconds_and_no_request_is_lost(rig: Rig) -> None:
    bundles = rig.folder / "bundles"
    (bundles / "fake").mkdir(parents=True)
    rig.open_gates()
    watcher = BundleWatcher(bundles, rig.service.bundles_changed)
    watcher.start()
    client, answers, ended = await rig.client(model="fake"), list[str](), asyncio.Event()

    async def type_on(session: str) -> None:
        while not ended.is_set():
            answers.append((await complete(client, "x = ", session=session))["text"])

    typists = [asyncio.ensure_future(type_on(name)) for name in "abc"]
    try:
        await until(lambda: len(answers) > 20)
        (bundles / "fake" / "agent.part").write_bytes(b"new")
        (bundles / "fake" / "agent.part").rename(bundles / "fake" / "agent.safetensors")
        changed_at = time.monotonic()
        await until(lambda: len(rig.loader.runtimes) == 2 and rig.loader.runtimes[1].started)
        assert time.monotonic() - changed_at < 2.0
        await until(rig.loader.runtimes[0].closed.is_set)
    finally:
        ended.set()
        watcher.stop()
    await asyncio.wait_for(asyncio.gather(*typists), WAIT_SECONDS)
    assert set(answers) == {" + 1"}


@pytest.mark.asyncio
async def test_under_load_a_bad_bundle_is_refused_and_the_old_one_stays(rig: Rig) -> None:
    bundles = rig.folder / "bundles"
    (bundles / "fake").mkdir(parents=True)
    rig.open_gates()
    watcher = BundleWatcher(bundles, rig.service.bundles_changed, quiet_seconds=0.1)
    watcher.start()
    client = await rig.client(model="fake")
    try:
        assert (await asyncio.wait_for(complete(client), WAIT_SECONDS))["text"]
        rig.loader.problem = Problem("bundle_invalid", "The agent holds NaN.")
        (bundles / "fake" / "agent.safetensors").write_bytes(b"bad")
        await until(lambda: any(value.get("reason") == "bundle_invalid" for _, value in rig.notifications))
        assert (await asyncio.wait_for(complete(client), WAIT_SECONDS))["text"]
        assert len(rig.loader.runtimes) == 1
    finally:
        watcher.stop()

"""The watcher of bundles: changes are told once, by bundle; reading is no change."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from green_code.engine.reload import BundleWatcher

WAIT_SECONDS = 10.0


@pytest.mark.asyncio
async def test_changes_are_told_by_bundle_and_reading_is_none(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "manifest.json").write_text("{}")
    told: asyncio.Queue[set[str]] = asyncio.Queue()
    watcher = BundleWatcher(tmp_path, told.put_nowait, quiet_seconds=0.1)
    watcher.start()
    try:
        (tmp_path / "one" / "manifest.json").read_text()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(told.get(), 0.3)
        (tmp_path / "one" / "manifest.json").write_text("{ }")
        (tmp_path / "two").mkdir()
        assert await asyncio.wait_for(told.get(), WAIT_SECONDS) == {"one", "two"}
        (tmp_path / "two" / "a.part").write_text("x")
        (tmp_path / "two" / "a.part").rename(tmp_path / "two" / "a")
        assert await asyncio.wait_for(told.get(), WAIT_SECONDS) == {"two"}
    finally:
        watcher.stop()


@pytest.mark.asyncio
async def test_a_missing_folder_is_no_error(tmp_path: Path) -> None:
    watcher = BundleWatcher(tmp_path / "none", lambda names: None)
    watcher.start()
    watcher.stop()

"""Folders of their own, editors with a front, and engines around the fake model."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from pytest_lsp import make_test_lsp_client

import green_code
from green_code.cli.engine import stop_engine
from green_code.link.discovery import ensure_engine, place
from tests.lsp.stdio import FAKE, FRONT, WAIT_SECONDS, Editor


@pytest.fixture
def private_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Without a gate, until a test writes one."""
    monkeypatch.setenv("GREEN_CODE_BUNDLES", str(tmp_path / "bundles"))
    monkeypatch.setenv("GREEN_CODE_DATA_DIR", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture
def folders(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of fronts and engines that are processes."""
    monkeypatch.setenv("GREEN_CODE_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("GREEN_CODE_DATA_DIR", str(tmp_path / "data"))
    if "real_model" not in request.keywords:  # that model is converted once
        monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(Path(green_code.__file__).resolve().parents[1]))


@pytest_asyncio.fixture
async def editor(folders: None) -> AsyncIterator[Editor]:
    client = make_test_lsp_client()
    await client.start_io(*FRONT, env=dict(os.environ))
    yield Editor(client)
    await client.shutdown_session()
    await asyncio.wait_for(client._server.wait(), WAIT_SECONDS)
    assert client._server.returncode == 0
    await client.stop()
    await stop_engine()


@pytest_asyncio.fixture
async def fake_engine(folders: None) -> None:
    """An engine around the fake model, found by the front that starts later."""
    client = await ensure_engine(place(), command=(sys.executable, str(FAKE)))
    await client.close()

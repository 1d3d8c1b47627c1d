"""How long front and engine take to be ready, their memory then and after use, and the time of a round trip.

The engine has a runtime folder of its own, so that one in use is left alone; the weights must have been converted.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil
from lsprotocol import types
from pygls.lsp.client import LanguageClient

from green_code import __version__, folders
from green_code.cli.demo import samples
from green_code.cli.engine import stop_engine
from green_code.link import messages
from green_code.link.discovery import ensure_engine, place
from green_code.problems import Problem
from green_code_lab.benchmark.peers.green_code import several_lines

_ROUND_TRIPS = 1000


async def measure_starts(model: str, runs: int) -> dict[str, Any]:
    """Rows for the page: of the processes, `starts`; and `round_trip`. Raises Problem if the engine does not get ready."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ[folders.RUNTIME_VARIABLE] = folder  # for the rest of this process
        try:
            front, engine = await _medians(_front, runs), await _medians(lambda: _engine(model), runs)
            used_mib, round_trip = await _use(model)
        finally:
            await stop_engine()
    processes = [{"process": "front", **front}, {"process": "engine", **engine, "used_mib": used_mib}]
    return {"starts": processes, "round_trip": [round_trip]}


async def _medians(start: Callable[[], Awaitable[tuple[float, int]]], runs: int) -> dict[str, float]:
    await start()  # fills the disk's cache
    seconds, size = np.median([await start() for _ in range(runs)], axis=0).tolist()
    return {"seconds": seconds, "mib": size / 2**20}


async def _front() -> tuple[float, int]:
    """Seconds from the start of the process to its answer to `initialize`, and its resident bytes then."""
    client = LanguageClient("green-code-bench", __version__)
    start = time.perf_counter()
    before = {child.pid for child in psutil.Process().children()}
    await client.start_io(sys.executable, "-m", "green_code", "lsp")
    await client.initialize_async(types.InitializeParams(capabilities=types.ClientCapabilities()))
    seconds = time.perf_counter() - start
    (process,) = (child for child in psutil.Process().children() if child.pid not in before)
    resident = process.memory_info().rss
    await client.shutdown_async(None)
    client.exit(None)
    await client.stop()  # type: ignore[no-untyped-call]
    return seconds, resident


async def _engine(model: str) -> tuple[float, int]:
    """Seconds from no engine to one that holds the model, and its resident bytes then."""
    await stop_engine()
    start = time.perf_counter()
    client = await ensure_engine(place(), asks={"model": model})
    try:
        while True:
            status = await client.request(messages.STATUS, {})
            seconds = time.perf_counter() - start
            if status["state"] == "ready" and status["model"] == model:
                return seconds, status["resident_bytes"]
            if status["state"] == "error" or seconds > 120:
                raise Problem("internal_error", f"the engine is not ready: {status['message']}")
            await asyncio.sleep(0.02)
    finally:
        await client.close()


def engine_start(model: str, environment: Mapping[str, str]) -> tuple[float, int]:
    """Of a converted model whose files are in memory: seconds until an engine holds it, and the engine's resident bytes then.

    Args:
        environment: variables of the engine, for folders.
    Raises:
        Problem: it does not get ready.
    """

    async def second() -> tuple[float, int]:
        try:
            await _engine(model)
            return await _engine(model)
        finally:
            await stop_engine()

    with (
        tempfile.TemporaryDirectory() as folder,
        patch.dict(os.environ, {**environment, folders.RUNTIME_VARIABLE: folder}),
    ):
        return asyncio.run(second())


async def _use(model: str) -> tuple[float, dict[str, float]]:
    """Complete the demo's files, each in a session of its own; then ask for the status many times. MiB, and ms."""
    client, seconds = await ensure_engine(place(), asks={"model": model}), []
    try:
        for name, before, _, after in samples():
            place_in_file = {"session": name, "prefix": before, "suffix": after, "max_tokens": 32}
            await client.request(messages.COMPLETE, {**several_lines(model, "exact", 1.0), **place_in_file})
        used = (await client.request(messages.STATUS, {}))["resident_bytes"]
        for _ in range(_ROUND_TRIPS):
            start = time.perf_counter()
            await client.request(messages.STATUS, {})
            seconds.append(time.perf_counter() - start)
    finally:
        await client.close()
    middle, high = (np.percentile(seconds, [50, 99]) * 1e3).tolist()
    return used / 2**20, {"median_ms": middle, "p99_ms": high}

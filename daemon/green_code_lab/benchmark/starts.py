"""How long front and engine take until they are ready, what they hold then and after use, and a question's way there and back.

In a runtime folder of its own, so that an engine in use is left alone; weights are converted before.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import psutil
from lsprotocol import types
from pygls.lsp.client import LanguageClient

from green_code import __version__, folders
from green_code.cli.demo import samples
from green_code.cli.engine import stop_engine
from green_code.link import messages
from green_code.link.client import EngineClient
from green_code.link.discovery import ensure_engine, place
from green_code.problems import Problem
from green_code_lab.benchmark.peers.green_code import completion_params
from green_code_lab.benchmark.statistics import median

_POLL_SECONDS = 0.02
_LIMIT_SECONDS = 120.0
_QUESTIONS = 1000


async def measure_starts(model: str, runs: int) -> dict[str, Any]:
    """{"front", "engine"}: seconds and bytes with intervals; "used_bytes" of the engine; "round_trip" seconds."""
    before = os.environ.get(folders.RUNTIME_VARIABLE)
    with tempfile.TemporaryDirectory() as folder:
        os.environ[folders.RUNTIME_VARIABLE] = folder
        try:
            return {
                "runs": runs,
                "front": await _several(_front, runs),
                "engine": await _several(lambda: _engine(model), runs),
                **await _use(model),
            }
        finally:
            await stop_engine()
            os.environ.pop(folders.RUNTIME_VARIABLE)
            if before is not None:
                os.environ[folders.RUNTIME_VARIABLE] = before


async def _several(once: Callable[[], Awaitable[tuple[float, int]]], runs: int) -> dict[str, Any]:
    await once()  # whatever is cached, is cached now
    found = [await once() for _ in range(runs)]
    seconds, sizes = zip(*found, strict=True)
    return {"seconds": asdict(median(seconds)), "bytes": asdict(median(sizes))}


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
    client = await ensure_engine(place(), model=model)
    try:
        while True:
            status = await client.request(messages.STATUS, {})
            seconds = time.perf_counter() - start
            if status["state"] == "ready" and status["model"] == model:
                return seconds, status["resident_bytes"]
            if status["state"] == "error" or seconds > _LIMIT_SECONDS:
                raise Problem("internal_error", f"the engine is not ready: {status['message']}")
            await asyncio.sleep(_POLL_SECONDS)
    finally:
        await client.close()


async def _use(model: str) -> dict[str, Any]:
    """Complete the demo's files, each in a session of its own; then ask for the status many times."""
    client = await ensure_engine(place(), model=model)
    try:
        for name, before, _, after in samples():
            params = completion_params(model, "exact", 1.0)
            asked = {**params, "session": name, "prefix": before, "suffix": after, "max_tokens": 32}
            await client.request(messages.COMPLETE, asked)
        used = (await client.request(messages.STATUS, {}))["resident_bytes"]
        return {"used_bytes": used, "round_trip": await _round_trips(client)}
    finally:
        await client.close()


async def _round_trips(client: EngineClient) -> dict[str, float]:
    seconds = []
    for _ in range(_QUESTIONS):
        start = time.perf_counter()
        await client.request(messages.STATUS, {})
        seconds.append(time.perf_counter() - start)
    return {"median": float(np.median(seconds)), "p99": float(np.percentile(seconds, 99))}

"""`make bench`: how long front and engine take until they are ready, and their memory, with weights converted before.

In a runtime folder of its own, so that an engine in use is left alone.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable

import psutil
from lsprotocol import types
from pygls.lsp.client import LanguageClient

from green_code import __version__, folders
from green_code.engine.command import stop_engine
from green_code.link import messages
from green_code.link.discovery import ensure_engine, place
from green_code.models.catalog import DEFAULT
from green_code.problems import Problem

RUNS = 5
_POLL_SECONDS = 0.02
_LIMIT_SECONDS = 120.0


async def front() -> tuple[float, int]:
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


async def engine() -> tuple[float, int]:
    """Seconds from no engine to one that holds the default model, and its resident bytes then."""
    await stop_engine()
    start = time.perf_counter()
    client = await ensure_engine(place(), model=DEFAULT)
    try:
        while True:
            status = await client.request(messages.STATUS, {})
            seconds = time.perf_counter() - start
            if status["state"] == "ready" and status["model"] == DEFAULT:
                return seconds, status["resident_bytes"]
            if status["state"] == "error" or seconds > _LIMIT_SECONDS:
                raise Problem("internal_error", f"the engine is not ready: {status['message']}")
            await asyncio.sleep(_POLL_SECONDS)
    finally:
        await client.close()


async def measure(name: str, once: Callable[[], Awaitable[tuple[float, int]]]) -> None:
    await once()  # whatever is cached, is cached now
    runs = [await once() for _ in range(RUNS)]
    seconds = [run[0] for run in runs]
    print(
        f"{name:7} ready in {statistics.median(seconds):.2f} s (of {RUNS} starts {min(seconds):.2f} to {max(seconds):.2f}), "
        f"{statistics.median(run[1] for run in runs) / 2**20:.0f} MiB resident"
    )


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ[folders.RUNTIME_VARIABLE] = folder
        try:
            await measure("front", front)
            await measure("engine", engine)
        finally:
            await stop_engine()


if __name__ == "__main__":
    asyncio.run(main())

"""How long front and engine take until they are ready, and their memory, by `evaluation.startup`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from green_code import folders
from green_code.benchmark.statistics import median
from green_code.engine.command import stop_engine
from green_code.evaluation import startup


async def measure_starts(runs: int) -> list[dict[str, Any]]:
    """{"name", "seconds", "bytes"} of each; in a runtime folder of its own, so that an engine in use is left alone."""
    before = os.environ.get(folders.RUNTIME_VARIABLE)
    with tempfile.TemporaryDirectory() as folder:
        os.environ[folders.RUNTIME_VARIABLE] = folder
        try:
            return [
                {"name": "front", **await _several(startup.front, runs)},
                {"name": "engine", **await _several(startup.engine, runs)},
            ]
        finally:
            await stop_engine()
            os.environ.pop(folders.RUNTIME_VARIABLE)
            if before is not None:
                os.environ[folders.RUNTIME_VARIABLE] = before


async def _several(once: Callable[[], Awaitable[tuple[float, int]]], runs: int) -> dict[str, Any]:
    await once()  # whatever is cached, is cached now
    found = [await once() for _ in range(runs)]
    seconds, sizes = zip(*found, strict=True)
    return {"seconds": asdict(median(seconds)), "bytes": asdict(median(sizes)), "runs": runs}

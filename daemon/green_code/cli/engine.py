"""`green-code engine`: runs the engine in the foreground, stops the running one, or shows its status.

Must not know: what the engine does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

from green_code.engine.process import leave, run_engine
from green_code.link import messages
from green_code.link.discovery import end_engine, find_engine, place


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--stop", action="store_true", help="stop the running engine, if there is one")
    what.add_argument("--status", action="store_true", help="show the running engine's status, if there is one")
    parser.add_argument("--json", action="store_true", help="write one JSON object to standard output")


def run(args: argparse.Namespace) -> int:
    """Run, stop or show the engine."""
    if args.stop:
        stopped = asyncio.run(stop_engine())
        _print(args.json, {"stopped": stopped}, "engine stopped" if stopped else "no engine was running")
        return 0
    if args.status:
        status = asyncio.run(engine_status())
        _print(args.json, status, _describe(status))
        return 0
    leave(run_engine())
    return 0


async def stop_engine() -> bool:
    """Stop the running engine, by force if it does not answer; False if there was none."""
    return await end_engine(place())


async def engine_status() -> dict[str, Any]:
    """The running engine's status, with its pid; or {"running": False}."""
    client = await find_engine(place())
    if client is None:
        return {"running": False}
    try:
        status: dict[str, Any] = await client.request(messages.STATUS, {})
        return {"running": True, "pid": client.engine_pid, **status}
    finally:
        await client.close()


def _describe(status: dict[str, Any]) -> str:
    if not status["running"]:
        return "no engine is running; the first request starts one"
    model = status["model"] or "no model"
    memory = status["resident_bytes"]
    size = f", {memory / 2**20:.0f} MiB" if memory is not None else ""
    costs = ", energy costs assumed until measured" if status["costs_assumed"] else ""
    return f"engine {status['pid']}: {status['state']} ({status['message']}), {model}{size}{costs}"


def _print(as_json: bool, value: dict[str, Any], sentence: str) -> None:
    print(json.dumps(value) if as_json else sentence)

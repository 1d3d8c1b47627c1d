"""A front without a model: the messages of docs/protocol.md with predictable figures, to test the user interface.

run.mjs --stub makes it `python -m green_code`. Each token takes every layer at threshold 1 and half of them below. A file
`stub-fails` in the runtime folder makes the engine report an error. `engine --stop` creates a file `stub-stopped` there. Settings and
answers are written to `front.jsonl`, as scripted/sitecustomize.py does for a real front.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer

LAYERS = 18
JOULES_PER_LAYER = 0.01
RUNTIME = Path(os.environ.get("GREEN_CODE_RUNTIME_DIR", "."))
FAILS = RUNTIME / "stub-fails"

server = LanguageServer("green-code-stub", "0.1.0")
settings: dict[str, Any] = {}
exits: list[int] = []
state = {
    "completions": 0,
    "accepted": 0,
    "tokens": 0,
    "characters": 0,
    "accepted_characters": 0,
    "layers": 0,
    "full": 0,
}


def write(event: dict[str, Any]) -> None:
    with (RUNTIME / "front.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(event) + "\n")


def totals() -> dict[str, float]:
    used, full = state["layers"] * JOULES_PER_LAYER, state["full"] * JOULES_PER_LAYER
    return {
        "completions": state["completions"],
        "unmeasured": 0,
        "shown": state["completions"],
        "accepted": state["accepted"],
        "retained": 0,
        "tokens": state["tokens"],
        "characters": state["characters"],
        "accepted_characters": state["accepted_characters"],
        "energy_joules": used,
        "energy_full_joules": full,
        "saved_joules": full - used,
        "saving": 1 - used / full if full else 0.0,
        "mean_layers": state["layers"] / max(1, state["tokens"]),
        "cpu_seconds": used / 10,
        "source": "estimate",
    }


def send_status(name: str, message: str = "", progress: float | None = None, reason: str | None = None) -> None:
    params = {"state": name, "message": message, "progress": progress, "reason": reason}
    server.protocol.notify("greenCode/status", params)


def send_energy() -> None:
    params = {
        "today": totals(),
        "session": totals(),
        "mean_layers": totals()["mean_layers"],
        "layers_total": LAYERS,
        "model": settings.get("model", ""),
        "last_exits": exits,
        "threshold": settings.get("threshold", 0.99),
        "agreement": {"checks": 20, "agreed": 11, "calibrated": 0.8, "raised_to": 0.6},
        "on_battery": True,
    }
    server.protocol.notify("greenCode/energy", params)


@server.feature(lsp.INITIALIZED)
async def initialized(params: lsp.InitializedParams) -> None:
    settings.update(server.protocol.options["settings"])  # type: ignore[attr-defined]
    write({"settings": settings})
    for step in range(3):
        send_status("loading", "stub", step / 3)
        await asyncio.sleep(0.1)
    if FAILS.exists():
        send_status("error", "the stub was told to fail", reason="model_damaged")
    else:
        send_status("ready")


@server.feature(lsp.INITIALIZE)
def initialize(params: lsp.InitializeParams) -> None:
    server.protocol.options = params.initialization_options  # type: ignore[attr-defined]


@server.feature(lsp.WORKSPACE_DID_CHANGE_CONFIGURATION)
def configured(params: lsp.DidChangeConfigurationParams) -> None:
    settings.update(params.settings["greenCode"])
    write({"settings": settings})


@server.feature(lsp.TEXT_DOCUMENT_INLINE_COMPLETION, lsp.InlineCompletionOptions())
def complete(params: lsp.InlineCompletionParams) -> lsp.InlineCompletionList:
    is_automatic = params.context.trigger_kind == lsp.InlineCompletionTriggerKind.Automatic
    event = {"units": params.position.character, "automatic": is_automatic}
    if not settings["enabled"] or (is_automatic and settings["trigger"] == "manual"):
        write({"answered": None, **event})
        return lsp.InlineCompletionList(items=[])
    layers = LAYERS if settings["threshold"] >= 1 else LAYERS // 2
    exits[:] = [layers] * 4
    state["completions"] += 1
    state["tokens"] += len(exits)
    state["layers"] += sum(exits)
    state["full"] += LAYERS * len(exits)
    number = str(state["completions"])
    text = f" stub_{number}"
    state["characters"] += len(text)
    send_energy()
    write({"exits": exits})
    write({"answered": text, **event})
    item = lsp.InlineCompletionItem(
        insert_text=text,
        range=lsp.Range(start=params.position, end=params.position),
        command=lsp.Command(title="", command="greenCode.accepted", arguments=[number, len(text)]),
    )
    return lsp.InlineCompletionList(items=[item])


@server.feature("greenCode/accepted")
def accepted(params: Any) -> None:
    state["accepted"] += 1
    state["accepted_characters"] += params.characters
    send_energy()


@server.feature("greenCode/resetGate")
def reset_gate(params: Any) -> dict[str, Any]:
    return {}


@server.feature("greenCode/explain")
def explain(params: Any) -> dict[str, Any]:
    last = {
        "text": "stub",
        "tokens": [{"text": f" t{index}", "layers": layers, "draft": "exit"} for index, layers in enumerate(exits)],
        "passes": 1,
        "layers_total": LAYERS,
        "energy_joules": sum(exits) * JOULES_PER_LAYER,
        "energy_source": "estimate",
        "saving": 0.5,
        "threshold": settings["threshold"],
        "decoding": settings["decoding"],
    }
    place = {"uri": None, "seconds_ago": None}
    text = {"reason": "empty", "code": "stub", "values": {}, "message": "This is the stub.", "action": ""}
    return {**text, **place, "last": last if exits else None}


@server.feature("greenCode/report")
def report(params: Any) -> dict[str, Any]:
    days = [{"day": day, **totals()} for day in ("2026-01-02", "2026-01-03")]
    languages = [{"language": language, **totals()} for language in ("python", "java")]
    return {
        "today": totals(),
        "all": totals(),
        "idle_joules": 0.0,
        "by_day": days,
        "by_language": languages,
        "by_model": [{"model": "stub", **totals()}],
    }


def models(arguments: list[str]) -> dict[str, Any]:
    """The light and the standard model; a file in the runtime folder says that the first one was got."""
    got = RUNTIME / "stub-got"
    if arguments[0] == "get":
        got.touch()
        return {"event": "done", "name": arguments[1]}

    def model(name: str, known_as: str, title: str, size: float) -> dict[str, Any]:
        return {
            "name": name, "title": title, "license": "MIT", "gated": False, "languages": ["Python"], "fim": False, "download_bytes": size,
            "disk_bytes": size, "memory_bytes": size, "state": "ready" if got.exists() and known_as == "light" else "available", "places": ["PyPI"],
            "milliseconds_per_token": 10.0, "milliseconds_per_prompt": 500.0, "joules_per_token": 0.1, "joules_per_prompt": 5.0,
            "energy_source": "estimate", "measured": True, "fits": True, "reason": "", "known_as": known_as,
            "recommended": known_as == "standard", "needs": [],
        }  # fmt: skip

    light = model("gemma-3-270m", "light", "Small Stub", 250e6)
    return {"models": [light, model("stub-standard", "standard", "Large Stub", 490e6)], "files": []}


@server.feature("greenCode/restartEngine")
async def restart_engine(params: Any) -> dict[str, Any]:
    send_status("starting")
    await asyncio.sleep(0.5)
    send_status("ready")
    return {}


if __name__ == "__main__":
    if sys.argv[1:2] == ["doctor"]:
        sys.exit(print("{}" if "--json" in sys.argv else "ok    stub: it answers"))
    if sys.argv[1:2] == ["models"]:
        sys.exit(print(json.dumps(models(sys.argv[2:]))))
    if sys.argv[1:3] == ["energy", "delete"]:
        sys.exit(print("1 rows deleted"))
    if sys.argv[1:3] == ["engine", "--stop"]:
        sys.exit((RUNTIME / "stub-stopped").touch())
    sys.exit(server.start_io())

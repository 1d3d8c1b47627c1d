"""Python runs this at its start where this folder is on PYTHONPATH. It opens the front (`python -m green_code lsp`) to a test.

The front writes its settings and answers to `front.jsonl` in the runtime folder, one object per line:

    {"settings": {…}}       settings that it took
    {"asked": PREFIX}       a request for the engine
    {"exits": […]}          the engine's result: the layer that decoded each token
    {"answered": TEXT, …}   an answer to the editor: null where it shows nothing, then with the reason

`script.json` there is a list of {"before", "text", "alternatives"}. A request whose prefix ends with `before` gets `text` as if the
model had written it, and the gate always asks there. All other requests reach the engine.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

RUNTIME = Path(os.environ.get("GREEN_CODE_RUNTIME_DIR", "."))


def scripted(prefix: str) -> dict[str, Any] | None:
    try:
        entries = json.loads((RUNTIME / "script.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return next((entry for entry in entries if prefix.endswith(entry["before"])), None)


def write(event: dict[str, Any]) -> None:
    with (RUNTIME / "front.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(event) + "\n")


def result(entry: dict[str, Any], number: int) -> dict[str, Any]:
    return {
        "id": f"scripted-{number}",
        "text": entry["text"],
        "tokens": 1,
        "token_texts": [entry["text"]],
        "exits": [18],
        "drafts": [""],
        "passes": 1,
        "layers_run": 18,
        "layers_total": 18,
        "prompt_tokens": 1,
        "prompt_reused": 0,
        "prompt_layers_run": 18,
        "energy_joules": 0.1,
        "energy_full_joules": 0.1,
        "energy_source": "estimate",
        "saving": 0.0,
        "wall_seconds": 0.1,
        "cpu_seconds": 0.1,
        "reason": "end_of_line",
        "confidence": 0.9,
        "alternatives": entry.get("alternatives", []),
    }


def open_front() -> None:
    from green_code.lsp.front import Front
    from green_code.lsp.gate import Gate
    from green_code.lsp.supervisor import Supervisor

    complete, decide, answer, configure = Supervisor.complete, Gate.decide, Front.complete, Front.configure
    answers = 0

    async def scripted_complete(self: Supervisor, params: Any) -> Any:
        nonlocal answers
        write({"asked": params["prefix"]})
        if (entry := scripted(params["prefix"])) is None:
            made = await complete(self, params)
            write({"exits": made["exits"]})
            return made
        answers += 1
        return result(entry, answers)

    def asking_decide(self: Gate, place: Any, automatic: bool = True) -> Any:
        return decide(self, place, automatic and scripted(place.prefix) is None)

    async def written_answer(self: Front, uri: str, line: int, units: int, automatic: bool, *rest: Any, **more: Any) -> Any:
        shown = await answer(self, uri, line, units, automatic, *rest, **more)
        event = {"file": uri.rsplit("/", 1)[-1], "line": line, "units": units, "automatic": automatic}
        write({"answered": shown and shown["text"], "reason": self.explain()["reason"], **event})
        return shown

    def written_configure(self: Front, values: Any) -> list[str]:
        problems = configure(self, values)
        write({"settings": dict(values or {})})
        return problems

    Supervisor.complete, Gate.decide = scripted_complete, asking_decide  # type: ignore[method-assign]
    Front.complete, Front.configure = written_answer, written_configure  # type: ignore[method-assign]


if sys.orig_argv[1:4] == ["-m", "green_code", "lsp"]:
    open_front()

"""Instruments a front for run.mjs, which sets GREEN_CODE_BENCH=ARM:FILE. Python imports this module at its start.

`ours` is unchanged, `naive` sends each request of the editor to the engine, without gate, debounce and type-through, and
`instant` does so with an engine that answers at once, whose text is inserted as it is. FILE gets a JSON object per request, one a line: when it began, how long
it took, and the source of its answer.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def _measure(arm: str, path: str) -> None:
    from green_code.lsp import debounce, front, gate, insertion, supervisor, type_through

    complete, ask = front.Front.complete, supervisor.Supervisor.complete
    numbers, asked = itertools.count(), [0]

    async def counted(self: Any, params: Any) -> Any:
        asked[0] += 1
        if arm != "instant":
            return await ask(self, params)
        return {
            "id": f"{next(numbers)}", "text": f" answer {next(numbers)}", "token_texts": [], "exits": [], "drafts": [], "passes": 0,
            "alternatives": [], "layers_total": 1, "energy_joules": 0.0, "energy_source": "", "saving": 0.0, "confidence": 1.0,
            "reason": "end_of_line",
        }  # fmt: skip

    async def measured(self: Any, *args: Any, **options: Any) -> Any:
        begun, before, result = time.time(), asked[0], None
        try:
            result = await complete(self, *args, **options)
            return result
        finally:
            source = "engine" if asked[0] > before else "before" if result else "none"
            line = {
                "begun": begun, "seconds": time.time() - begun, "source": source, "text": bool(result),
                "reason": self.explain()["reason"],
            }  # fmt: skip
            with Path(path).open("a", encoding="utf-8") as file:
                print(json.dumps(line), file=file)

    front.Front.complete = measured  # type: ignore[method-assign,assignment]
    supervisor.Supervisor.complete = counted  # type: ignore[method-assign]
    if arm == "instant":
        front.fit = lambda raw, *_, **__: insertion.Insertion(raw)  # type: ignore[assignment]
    if arm != "ours":
        front.Front._visible = lambda *_: None  # type: ignore[method-assign,assignment]
        type_through.TypeThrough.find = lambda *_: None  # type: ignore[method-assign,assignment]
        debounce.Debounce.wait_seconds = lambda *_: 0.0  # type: ignore[method-assign,assignment]
        debounce.Debounce.held_seconds = lambda *_: 0.0  # type: ignore[method-assign,assignment]
        gate.Gate.decide = lambda *_, **__: gate.Decision(ask=True, inputs=())  # type: ignore[method-assign,assignment]


if "lsp" in sys.orig_argv and (wanted := os.environ.get("GREEN_CODE_BENCH")):
    _measure(*wanted.split(":", 1))

"""Instruments a front for run.mjs, which sets GREEN_CODE_BENCH=ARM:FILE. Python imports this module at its start.

`ours` is unchanged, `naive` sends each request of the editor to the engine, without gate, debounce and type-through, and `instant` answers without the engine. FILE gets a
JSON object per request, one a line: when it began, how long it took, and the source of its answer.
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
    from green_code.lsp import front, gate

    complete, numbers = front.Front.complete, itertools.count()

    async def instant(self: Any, uri: str, line: int, units: int, *_: Any) -> dict[str, Any]:
        return {"id": "", "text": f" answer {next(numbers)}", "reason": "end_of_line"}

    async def measured(self: Any, uri: str, *args: Any) -> Any:
        begun, result = time.time(), None
        asked = self._supervisor.asked
        try:
            result = await (instant if arm == "instant" else complete)(self, uri, *args)
            return result
        finally:
            sent = self._supervisor.asked - asked
            source = "engine" if sent else "before" if result else "none"
            line = {
                "begun": begun, "seconds": time.time() - begun, "source": source, "text": bool(result),
                "reason": result["reason"] if result else self.explain()["reason"],
            }  # fmt: skip
            with Path(path).open("a", encoding="utf-8") as file:
                print(json.dumps(line), file=file)

    class CountingSupervisor(front.Supervisor):
        asked = 0

        async def complete(self, params: Any) -> Any:
            self.asked += 1
            return await super().complete(params)

    defaults = list(front.Front.__init__.__defaults__ or ())
    defaults[defaults.index(front.Supervisor)] = CountingSupervisor
    front.Front.__init__.__defaults__ = tuple(defaults)  # type: ignore[misc]
    front.Front.complete = measured  # type: ignore[method-assign,assignment]
    if arm == "naive":
        front.TypeThrough.find = lambda *_: None  # type: ignore[method-assign,assignment]
        front.Debounce.wait_seconds = lambda *_: 0.0  # type: ignore[method-assign,assignment]
        gate.Gate.decide = lambda *_, **__: gate.Decision(ask=True)  # type: ignore[method-assign,assignment]


if "lsp" in sys.orig_argv and (wanted := os.environ.get("GREEN_CODE_BENCH")):
    _measure(*wanted.split(":", 1))

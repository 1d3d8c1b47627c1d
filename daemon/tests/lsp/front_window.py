"""A front with a scripted engine, and what it showed."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from green_code.link.messages import CompletionParams, StatusMessage
from green_code.lsp.front import Front
from green_code.lsp.gate_features import NAMES, Place

URI = "file:///home/me/a.py"


def write_gate(folders: Path, bias: float) -> None:
    """The default model's, which expects the same everywhere."""
    bounds = {"eager": 0.1, "balanced": 0.2, "sure": 0.4}
    gate = {"schema": 2, "features": NAMES, "weights": [0.0] * len(NAMES), "bias": bias, "bounds": bounds}
    path = folders / "bundles" / "gemma-3-270m" / "gate.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(gate))


def result(text: str = "1)", reason: str = "closing_bracket", row_id: str = "row") -> dict[str, Any]:
    return {
        "id": row_id,
        "text": text,
        "token_texts": ["1", ")"],
        "exits": [6, 12],
        "drafts": ["exit", ""],
        "passes": 1,
        "alternatives": [],
        "layers_total": 18,
        "energy_joules": 0.1,
        "energy_source": "estimate",
        "saving": 0.4,
        "reason": reason,
        "confidence": 0.9,
    }


def feature(params: CompletionParams, name: str) -> float:
    return dict(zip(NAMES, params["place"], strict=True))[name]


class ScriptedSupervisor:
    """Answers from a list; an exception in it is raised, an event waited for."""

    def __init__(
        self, on_status: Callable[..., None], on_energy: Callable[..., None], on_warning: Callable[[str], None]
    ) -> None:
        self.on_status, self.on_energy, self.on_warning = on_status, on_energy, on_warning
        self.requests: list[CompletionParams] = []
        self.reads_snippets = False
        self.answers: list[Any] = []
        self.cancelled = 0
        self.warmed_up: list[str] = []
        self.displayed: list[tuple[str, int]] = []
        self.taken: list[tuple[str, int]] = []

    async def warm_up(self, model: str, device: str) -> None:
        self.warmed_up.append(model)

    def shown(self, row_id: str, characters: int) -> None:
        self.displayed.append((row_id, characters))

    def accepted(self, row_id: str, characters: int) -> None:
        self.taken.append((row_id, characters))

    def retained(self, row_id: str) -> None:
        pass

    async def close(self) -> None:
        pass

    async def complete(self, params: CompletionParams) -> Any:
        self.requests.append(params)
        answer = self.answers.pop(0)
        if isinstance(answer, asyncio.Event):
            try:
                await answer.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            answer = self.answers.pop(0)
        for state, message in (("busy", "Completing"), ("ready", "Ready")):  # as the engine pushes them
            self.on_status({"state": state, "message": message, "progress": None, "reason": None})
        if isinstance(answer, Exception):
            raise answer
        return answer


class NoExploration(random.Random):
    """A refusal of the gate is a refusal."""

    def random(self) -> float:
        return 1.0


class Window:
    """A front, its scripted engine, and what it showed."""

    def __init__(self, on_battery: Callable[[], bool] = lambda: False) -> None:
        self.now = 0.0
        self.shown: list[StatusMessage] = []
        self.warnings: list[str] = []
        self.engine: ScriptedSupervisor = None  # type: ignore[assignment]
        self.front = Front(
            self.shown.append,
            lambda energy: None,
            self.warnings.append,
            supervisor=self._make,
            on_battery=on_battery,
            clock=lambda: self.now,
            chance=NoExploration(),
        )

    def _make(self, *callbacks: Any) -> Any:
        self.engine = ScriptedSupervisor(*callbacks)
        return self.engine

    def complete(self, line: int, units: int, automatic: bool = True, uri: str = URI) -> Any:
        return asyncio.run(self.front.complete(uri, line, units, automatic))

    def probability(self) -> float:
        """What the gate expects of one place."""
        found = self.front._gate.decide(Place("python", "x = ", "\n", 0, 1), automatic=False).probability
        assert found is not None
        return found

    def reason(self) -> tuple[str, str]:
        explanation = self.front.explain()
        return explanation["reason"], explanation["message"]

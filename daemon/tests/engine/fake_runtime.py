"""A fake model whose completions wait for events, so that a test controls their order. Also a script:
`python fake_runtime.py` is an engine with a fake model that answers at once; a prefix that ends in "die" kills it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from green_code.endpoints import is_endpoint
from green_code.link.messages import CompletionParams, CompletionResult
from green_code.problems import Problem

WAIT_SECONDS = 60.0


def completion_params(prefix: str = "x = 1", session: str = "a", **changes: Any) -> CompletionParams:
    """The parameters of a request, with changes that may be wrong."""
    params: Any = {
        "session": session,
        "prefix": prefix,
        "suffix": "",
        "language": "python",
        "model": "fake",
        "device": "auto",
        "decoding": "fast",
        "policy": "agent",
        "threshold": 0.8,
        "max_tokens": 16,
        "single_line": True,
        "max_lines": 1,
        "max_prompt_tokens": 512,
        "stop": 0.0,
        "alternatives": 0,
        "place": [],
        "path": "",
        "snippets": [],
    }
    return {**params, **changes}  # type: ignore[typeddict-item]


def result_for(params: CompletionParams, text: str = " + 1", reason: str = "end_of_line") -> CompletionResult:
    """A plausible result."""
    return CompletionResult(
        id="",
        text=text,
        tokens=2,
        token_texts=[" +", " 1"],
        exits=[6, 12],
        drafts=["", ""],
        passes=2,
        layers_run=18,
        layers_total=18,
        prompt="prefix",
        prompt_tokens=len(params["prefix"]),
        prompt_reused=0,
        prompt_layers_run=6 * len(params["prefix"]),
        energy_joules=0.25,
        energy_full_joules=0.5,
        energy_source="estimate",
        saving=0.5,
        wall_seconds=0.01,
        cpu_seconds=0.01,
        reason=reason,
        confidence=0.7,
        alternatives=[],
    )


class FakeSession:
    """Completes when its runtime's gate is open; a cancelled one ends at once."""

    cache_bytes = 1000

    def __init__(self, runtime: FakeRuntime) -> None:
        self.runtime = runtime
        self.trimmed = False

    def complete(self, params: CompletionParams, cancelled: Callable[[], str | None]) -> CompletionResult:
        self.runtime.started.append(params["prefix"])
        self.runtime.running.set()
        while not self.runtime.gate.wait(0.005):
            if (reason := cancelled()) is not None:
                self.runtime.stopped.append(reason)
                return result_for(params, text="", reason=reason)
        if params["prefix"].endswith("die"):
            os._exit(9)
        if params["prefix"].endswith("raise"):
            raise ValueError("a bug in the model")
        if params["prefix"].endswith("problem"):
            raise Problem("bundle_invalid", "The bundle is of another model. Reinstall it.")
        if params["prefix"].endswith("hard") and params["decoding"] == "exact":
            return result_for(params, text=" + 2")
        if params["prefix"].endswith("nothing"):
            return result_for(params, text="", reason="empty")
        if params["stop"] and params["prefix"].endswith("guess"):
            return result_for(params, text=" +", reason="unsure")
        if params["stop"] and params["prefix"].endswith("dark"):
            return {**result_for(params, text="", reason="unlikely"), "tokens": 0, "token_texts": [], "exits": []}
        return result_for(params)

    def trim(self) -> None:
        self.trimmed = True


class FakeRuntime:
    """A model whose completions wait for `gate`."""

    bundle = "none"
    weights = "fake"
    layers_total = 18
    exits = (6, 12, 18)
    energy_source = "estimate"
    reads_snippets = False
    device = "cpu"
    card = notice = ""
    idle_watts = 0.0
    calibration: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, model: str, gate: threading.Event) -> None:
        self.model = model
        self.gate = gate
        self.running = threading.Event()
        self.started: list[str] = []
        self.stopped: list[str] = []
        self.sessions: list[FakeSession] = []
        self.closed = threading.Event()
        self.costs_assumed = False
        self.pieces = 0
        """Of the costs, how many were measured; the third is the last. Each waits for `piece`."""
        self.piece = threading.Event()
        self.measuring = threading.Event()

    def new_session(self) -> FakeSession:
        self.sessions.append(FakeSession(self))
        return self.sessions[-1]

    def threshold(self, threshold: float | str) -> float:
        return 0.6 if isinstance(threshold, str) else threshold

    def measure_costs(self, interrupted: Callable[[], bool]) -> None:
        self.measuring.set()
        while not self.piece.wait(0.005):
            if interrupted():
                return
        self.pieces += 1
        self.costs_assumed = self.pieces < 3

    def close(self) -> None:
        self.closed.set()


class FakeLoader:
    """Loads when `loaded` is set; fails with `problem` while there is one. Models of `problems` fail, those of `held` wait longer."""

    def __init__(self) -> None:
        self.loaded = threading.Event()
        self.gate = threading.Event()
        self.problem: Exception | None = None
        self.problems: dict[str, Exception] = {}
        self.held: dict[str, threading.Event] = {}
        self.sizes: dict[str, int] = {}
        self.connect: Callable[[str], Any] | None = None
        """Loads what is the address of a server."""
        self.calls: list[str] = []
        self.runtimes: list[FakeRuntime] = []

    @classmethod
    def instant(cls) -> FakeLoader:
        loader = cls()
        loader.loaded.set()
        loader.gate.set()
        return loader

    def __call__(
        self, model: str, progress: Callable[..., None], device: str, make_room: Callable[[int], None]
    ) -> FakeRuntime:
        self.calls.append(model)
        if self.connect is not None and is_endpoint(model):
            return self.connect(model)
        progress("loading", f"Loading {model}", 0.5)
        assert self.loaded.wait(WAIT_SECONDS)
        if model in self.held:
            self.held[model].wait()
        if (problem := self.problem or self.problems.get(model)) is not None:
            raise problem
        make_room(self.sizes.get(model, 0))
        self.runtimes.append(FakeRuntime(model, self.gate))
        return self.runtimes[-1]


if __name__ == "__main__":
    from green_code.engine.process import leave, run_engine

    if "--crash" in sys.argv:
        sys.exit("no such library: libmodel")
    instant = FakeLoader.instant()
    first = Path(os.environ["GREEN_CODE_RUNTIME_DIR"], "first")
    if "--first-waits" in sys.argv and not first.exists():  # the first engine never answers, later ones do
        first.touch()
        instant.gate.clear()
    leave(run_engine(lambda: instant))

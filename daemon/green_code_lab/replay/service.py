"""Suggestions from the engine's own sessions: the replayed typing of a span is served as in the editor.

Joules are those of the engine's account. A second of the engine is `DEFAULT_WATTS_PER_CORE` joules, so that a replay does not depend on what
else the machine does.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from green_code.energy.meters import DEFAULT_WATTS_PER_CORE
from green_code.engine.loading import Runtime
from green_code.engine.requests import completion_params
from green_code.engine.session import Session
from green_code.link.messages import CompletionParams, Decoding
from green_code.lsp.gate import Gate as FrontGate
from green_code.lsp.gate_features import Place
from green_code.lsp.prompt import PromptWindow
from green_code.settings import PROMPT_TOKENS, TOKENS_PER_LINE, default_settings
from green_code_lab.replay.spans import Span
from green_code_lab.replay.typist import Answer, Gate, Typed, always, type_span


@dataclass(frozen=True)
class Arm:
    """How suggestions are computed: `stop` as in `CompletionParams`; `gated`: the bundle's gate stands before the engine. `resumes`: a
    prompt that is the same as before costs no layer, see `Session._held`."""

    name: str
    decoding: Decoding
    policy: str = "agent"
    threshold: float = field(default_factory=lambda: default_settings().threshold)
    stop: float | str = 0.0
    gated: bool = False
    resumes: bool = True

    @property
    def max_lines(self) -> int:
        """Without a stop, one line: several would be wrong nearly always."""
        return default_settings().max_lines if self.stop else 1


def serve_span(runtime: Runtime, span: Span, arm: Arm, seed: int) -> Typed:
    """Type a span with a session of its own."""
    return timed_span(runtime, span, arm, seed)[0]


def timed_span(runtime: Runtime, span: Span, arm: Arm, seed: int) -> tuple[Typed, list[float]]:
    """`serve_span`, and how many seconds its requests took here: first the one that brings the text before the span into the cache, then
    those that no key overtook."""
    gate = _gate(runtime.model, arm, seed) if arm.gated else always
    engine = _FromEngine(runtime, span, arm)
    return type_span(span, engine, gate, seed=seed), engine.waits


def _gate(model: str, arm: Arm, seed: int) -> Gate:
    """The product's, with its exploration; it adapts to nobody."""
    gate = FrontGate(random.Random(seed))
    gate.configure(replace(default_settings(), model=model, suggestions=arm.stop, adaptive_gate=False))  # type: ignore[arg-type]

    def asks(place: Place) -> tuple[bool, list[float]]:
        decision = gate.decide(place)
        if decision.ask:
            gate.asked()
        return decision.ask, list(decision.inputs)

    return asks


class _NotResuming(Session):
    """Runs the prompt's last position at each request."""

    def _held(
        self, prompt: Sequence[int], shared: int, required: bytes, exits: Sequence[int], max_tokens: int
    ) -> tuple[int, list[int] | None]:
        return min(shared, len(self._cache), len(prompt) - 1), None


class _FromEngine:
    def __init__(self, runtime: Runtime, span: Span, arm: Arm) -> None:
        self._runtime, self._span = runtime, span
        self._session = Session(runtime) if arm.resumes else _NotResuming(runtime)
        self._window = PromptWindow()
        self.waits: list[float] = []
        self._params = completion_params(
            "", language=span.language, model=runtime.model, decoding=arm.decoding, policy=arm.policy, threshold=arm.threshold,
            stop=arm.stop, max_lines=arm.max_lines, single_line=arm.max_lines == 1, max_tokens=TOKENS_PER_LINE * arm.max_lines,
        )  # fmt: skip

    def open(self) -> float:
        prompt = self._window.prompt(*self._span.document_at(0), PROMPT_TOKENS)
        first: CompletionParams = {
            **self._params, "prefix": prompt.prefix, "suffix": prompt.suffix, "max_tokens": 1, "stop": 0.0
        }  # fmt: skip
        begin = time.perf_counter()
        joules = self._session.complete(first, lambda: None, math.inf)["energy_joules"]
        self.waits.append(time.perf_counter() - begin)
        return joules

    def ask(self, cursor: int, place: list[float], limit: float) -> Answer:
        session, prices = self._session, self._runtime.costs.prices
        prompt = self._window.prompt(*self._span.document_at(cursor), PROMPT_TOKENS)
        before, most = session.work, limit * DEFAULT_WATTS_PER_CORE

        def cancelled() -> str | None:
            return "cancelled" if prices.of(session.work - before) >= most else None

        begin = time.perf_counter()
        result = session.complete(
            {**self._params, "prefix": prompt.prefix, "suffix": prompt.suffix, "place": place}, cancelled, math.inf
        )
        joules = result["energy_joules"]
        if joules < most:
            self.waits.append(time.perf_counter() - begin)
        return Answer(result["text"], joules, joules / DEFAULT_WATTS_PER_CORE, result["tokens"])

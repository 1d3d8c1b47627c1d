"""Where the time of one of our tokens goes: each part's own time, taken by wrapping it from outside for a while."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from green_code.decoding import generate
from green_code.decoding.exit_policies import Agent
from green_code.decoding.healing import Chooser
from green_code.decoding.kv_cache import KVCache
from green_code.engine.runtime import Runtime
from green_code.link.messages import CompletionParams, Decoding
from green_code.models.vocabulary import Vocabulary
from green_code.settings import default_settings
from green_code_lab.benchmark.cores import pin
from green_code_lab.benchmark.peer import Prompt
from green_code_lab.benchmark.peers.green_code import completion_params

REST = "the rest"
_REPEATS = 3


class Clock:
    """Seconds by part. A part that calls another is charged only for what it does itself."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self._now, self._open, self._since = now, [REST], now()

    def start(self) -> None:
        """From now on; what is not in a part is the rest's."""
        self.seconds, self._since = {}, self._now()

    def charge(self) -> None:
        """Give the time since the last change to the part that ran."""
        now = self._now()
        self.seconds[self._open[-1]] = self.seconds.get(self._open[-1], 0.0) + now - self._since
        self._since = now

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            self.charge()
            self._open.append(part)
            try:
                return function(*args, **kwargs)
            finally:
                self.charge()
                self._open.pop()

        return run


def _parts(runtime: Runtime) -> list[tuple[str, Any, str]]:
    """(part, owner, name). A name that the owner lacks is passed over, and its time is in the rest."""
    return [
        ("drafts", generate, "draft"),
        ("layers", KVCache, "advance"),
        ("lens and head", type(runtime.decoder), "look"),
        ("lens and head", type(runtime.decoder), "best"),
        ("embedding and cache", KVCache, "append"),
        ("embedding and cache", KVCache, "truncate"),
        ("agent", Agent, "stop"),
        ("choice of the token", Chooser, "choose"),
        ("stop rules", generate, "check"),
        ("token to text", generate, "text_of"),
        ("text to tokens", Vocabulary, "encode"),
    ]


@contextmanager
def hooks(runtime: Runtime, clock: Clock) -> Iterator[None]:
    """The parts are timed by `clock` inside of the `with`."""
    present = [(part, owner, name) for part, owner, name in _parts(runtime) if hasattr(owner, name)]
    before = [(owner, name, getattr(owner, name)) for _, owner, name in present]
    try:
        for part, owner, name in present:
            setattr(owner, name, clock.timed(part, getattr(owner, name)))
        yield
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


def profile(runtime: Runtime, prompt: Prompt, tokens: int, threads: int) -> list[dict[str, Any]]:
    """Seconds per token by part, at full depth and in `fast`, after a prompt that is in the cache; the least of a few runs.

    `fast` is left out where there is no agent.
    """
    pin(threads)
    try:
        return _profiles(runtime, prompt, tokens)
    finally:
        pin(None)


def _profiles(runtime: Runtime, prompt: Prompt, tokens: int) -> list[dict[str, Any]]:
    modes: tuple[tuple[Decoding, float | str], ...] = (
        ("full", 1.0),
        ("fast", default_settings().threshold),
    )
    found = []
    for decoding, threshold in modes:
        asked: CompletionParams = {
            **completion_params(runtime.model, decoding, threshold),
            "prefix": prompt.text,
            "max_tokens": tokens,
        }
        if decoding == "fast" and runtime.agent is None:
            continue
        runs = []
        for _ in range(_REPEATS):
            session = runtime.new_session()  # one that has not written this yet: it would be drafted
            session.complete({**asked, "max_tokens": 1}, lambda: None, math.inf)
            clock = Clock()
            with hooks(runtime, clock):
                clock.start()
                written = session.complete(asked, lambda: None, math.inf)["tokens"]
                clock.charge()
            runs.append({part: seconds / written for part, seconds in clock.seconds.items()})
        best = min(runs, key=lambda parts: sum(parts.values()))
        found.append(
            {"decoding": decoding, "threshold": threshold, "seconds": sum(best.values()), "parts": best}
        )
    return found

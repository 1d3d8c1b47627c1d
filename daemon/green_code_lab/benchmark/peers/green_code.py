"""Green Code itself, by the path of its users: `engine.runtime` and a session, text in and completion out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from green_code.decoding import stop_rules
from green_code.decoding.stop_rules import Situation
from green_code.engine.runtime import Runtime, load_runtime
from green_code.link.messages import CompletionParams, Decoding
from green_code_lab.benchmark.peer import Prompt

_WINDOW = 4096  # tokens; every prompt fits


class GreenCode:
    """A session of a loaded model. `threshold` is the agent's, a number or a named stop of the bundle."""

    def __init__(self, model: str, decoding: Decoding, threshold: float | str) -> None:
        self._runtime = load_runtime(model)
        self._params = completion_params(model, decoding, threshold)
        self._runtime.policy(self._params)  # what the bundle cannot do is refused now
        write_on(self._runtime)
        self.forget()

    def describe(self) -> str:
        return self._runtime.decoder.description

    def use_threads(self, count: int) -> None:
        torch.set_num_threads(count)

    def forget(self) -> None:
        self._session = self._runtime.new_session()
        if (lookup := self._session.price_book.lookup) is not None:
            # What goes on as a suggestion did, the front answers itself; so no request here may be of that kind.
            lookup.remember = lambda context, tokens: None  # type: ignore[method-assign]

    def complete(self, prompt: Prompt, count: int) -> list[str]:
        asked: CompletionParams = {**self._params, "prefix": prompt.text, "max_tokens": count}
        return self._session.complete(asked, lambda: None, math.inf)["token_texts"]


def completion_params(model: str, decoding: Decoding, threshold: float | str) -> CompletionParams:
    """A completion of many lines; prefix and number of tokens are to be filled in."""
    return {
        "session": "", "prefix": "", "suffix": "", "language": "python", "model": model, "decoding": decoding, "policy": "agent",
        "threshold": threshold, "max_tokens": 0, "single_line": False, "max_lines": 1, "max_prompt_tokens": _WINDOW,
    }  # fmt: skip


def write_on(runtime: Runtime) -> None:
    """Let no completion end before it has as many tokens as were asked for, as with the other engines.

    The stop rules are run all the same, since their time is a part of ours; only what they say is not heeded.
    """
    runtime.vocabulary.eos = frozenset()
    stop_rules.RULES = tuple((name, _unheeded(rule)) for name, rule in stop_rules.RULES)


def _unheeded(rule: Callable[[str, Situation], int | None]) -> Callable[[str, Situation], int | None]:
    def run(text: str, at: Situation) -> None:
        rule(text, at)

    return run


def open_peer(**options: Any) -> GreenCode:
    return GreenCode(**options)

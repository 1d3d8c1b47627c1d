"""Green Code as its users run it: a session of a loaded model, text in and completion out."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch

from green_code.decoding import stop_rules
from green_code.decoding.stop_rules import Situation
from green_code.engine.loading import Runtime, load_measured
from green_code.engine.requests import completion_params
from green_code.link.messages import CompletionParams, Decoding
from green_code_lab.benchmark.peers import Prompt


class Engine:
    """A session of `model`. `threshold` is the agent's, in `fast`."""

    def __init__(self, model: str, decoding: Decoding, threshold: float) -> None:
        self._runtime = load_measured(model)
        self._params = several_lines(model, decoding, threshold)
        disable_stops(self._runtime)
        self.clear_cache()

    def version(self) -> str:
        return self._runtime.decoder.description

    def set_threads(self, count: int) -> None:
        torch.set_num_threads(count)

    def clear_cache(self) -> None:
        self._session = self._runtime.new_session()
        if (lookup := self._session.lookup) is not None:
            # A text that continues as suggested never reaches the engine, so earlier completions must not draft here.
            lookup.remember = lambda context, tokens: None  # type: ignore[method-assign]

    def complete(self, prompt: Prompt, count: int) -> list[str]:
        self._params |= {"prefix": prompt.text, "max_tokens": count}
        return self._session.complete(self._params, lambda: None, math.inf)["token_texts"]


def several_lines(model: str, decoding: Decoding, threshold: float) -> CompletionParams:
    """A completion of several lines; the caller adds prefix and number of tokens. Every prompt fits."""
    return completion_params(
        "", model=model, decoding=decoding, threshold=threshold, single_line=False, max_prompt_tokens=4096
    )


def disable_stops(runtime: Runtime) -> None:
    """Let every completion run to its last token, like those of the other engines; changes the whole process.

    The stop rules still run, because their time is part of ours; their answers are ignored.
    """

    def ignored(rule: Callable[[str, Situation], object], text: str, at: Situation) -> None:
        rule(text, at)

    runtime.vocabulary.eos = frozenset()
    stop_rules.RULES = tuple((name, partial(ignored, rule)) for name, rule in stop_rules.RULES)

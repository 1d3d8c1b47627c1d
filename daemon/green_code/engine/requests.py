"""A completion's parameters, and `Job`: one completion request in the engine.

A job is answered exactly once: with a result, with a Problem, or with a refusal. A refusal answers at once; the compute
thread polls for it during decoding and stops.
Must not know: models, sessions or sockets.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from green_code.engine.interfaces import Runtime
from green_code.link import messages
from green_code.link.checks import checked, fault_of
from green_code.link.messages import CompletionParams, CompletionResult
from green_code.problems import Problem, retrieve_exception
from green_code.settings import TOKENS_PER_LINE, default_settings

_CHARACTERS_PER_TOKEN: Final = 16
"""More than a token has on average, over some lines."""
_TOKENS_AROUND: Final = 1000
"""Of the text before the prompt that prompt lookup reads."""
_TOKENS_AT_MOST: Final = 1 << 15
"""Of a prompt, whatever is asked for."""

REFUSAL_TEXTS: Final = {
    "cancelled": "The request was cancelled.",
    "superseded": "A newer request of the same document replaced it.",
    "engine_lost": "The engine was stopped before it could answer. Try again.",
}


def completion_params(prefix: str, **changes: Any) -> CompletionParams:
    """The parameters of a completion of one line without a stop, else as the editor's defaults have them, with changes.

    Raises:
        Problem: see `check_params`.
    """
    defaults = default_settings()
    params = {
        "session": "",
        "prefix": prefix,
        "suffix": "",
        "language": "python",
        "model": defaults.model,
        "device": defaults.device,
        "decoding": defaults.decoding,
        "policy": "agent",
        "threshold": defaults.threshold,
        "max_tokens": TOKENS_PER_LINE,
        "single_line": True,
        "max_lines": 1,
        "max_prompt_tokens": defaults.max_prompt_tokens,
        "stop": 0.0,
        "alternatives": 0,
        "place": [],
        "path": "",
        "snippets": [],
    }
    return check_params({**params, **changes})


def check_params(params: Mapping[str, Any]) -> CompletionParams:
    """The parameters of a completion, or a Problem `bad_request` that names what is wrong."""
    return checked(CompletionParams, params, messages.COMPLETE)


def threshold_in_force(params: CompletionParams, runtime: Runtime, least: float = 0.0) -> float | str:
    """The threshold that the agent uses: a preset's number, and at least `least`. Unchanged if no agent decides.

    Raises:
        Problem: the preset is not calibrated.
    """
    requested = params["threshold"]
    if params["decoding"] != "fast" or params["policy"] != "agent":
        return requested
    return max(runtime.threshold(requested), least)


def threshold(text: str) -> float | str:
    """An argparse type: a number from 0.5 to 1, or a preset."""
    return _argument(text, messages.Threshold)


def stop(text: str) -> float | str:
    """An argparse type: a number from 0 to below 1, or a preset."""
    return _argument(text, messages.Stop)


def _argument(text: str, kind: Any) -> float | str:
    value: float | str = text
    with contextlib.suppress(ValueError):
        value = float(text)
    if (fault := fault_of(kind, value)) is not None:
        raise argparse.ArgumentTypeError(fault)
    return value


class Wanted(NamedTuple):
    """A model, and where it is to compute."""

    model: str
    device: str


def _near(params: CompletionParams) -> CompletionParams:
    """With the text near the cursor alone: more than a prompt and prompt lookup can read, and no more than they should hold.

    The beginning moves in steps of half of that, so that typing does not shift it.
    """
    most = _CHARACTERS_PER_TOKEN * (min(params["max_prompt_tokens"], _TOKENS_AT_MOST) + _TOKENS_AROUND)
    prefix, step = params["prefix"], most // 2
    beyond = max(0, len(prefix) - most)
    snippets = [snippet for snippet in params["snippets"] if len(snippet["text"]) <= most]
    return {
        **params,
        "prefix": prefix[-(-beyond // step) * step :],
        "suffix": params["suffix"][:most],
        "snippets": snippets,
    }


class Job:
    """One completion request. `refuse` and `finish` are called on the event loop."""

    def __init__(self, owner: object, params: CompletionParams) -> None:
        self.owner = owner
        self.params = _near(params)
        self.refusal: str | None = None
        self.answer: asyncio.Future[CompletionResult] = asyncio.get_running_loop().create_future()
        self.answer.add_done_callback(retrieve_exception)

    def refuse(self, reason: str) -> None:
        """Answer with a refusal at once; no effect after an answer."""
        if not self.answer.done():
            self.refusal = reason
            self.answer.set_exception(Problem(reason, REFUSAL_TEXTS[reason]))

    def finish(self, outcome: CompletionResult | Problem) -> None:
        """Answer with a result or a failure; no effect after an answer."""
        if self.answer.done():
            return
        if isinstance(outcome, Problem):
            self.answer.set_exception(outcome)
        elif outcome["reason"] in REFUSAL_TEXTS:
            self.refuse(outcome["reason"])
        else:
            self.answer.set_result(outcome)

"""Checks of a completion's parameters, and `Job`: one completion request in the engine.

A job is answered exactly once: with a result, with a Problem, or with a refusal. A refusal answers at once; the compute
thread polls for it during decoding and stops.
Must not know: models, sessions or sockets.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, cast, get_args

from green_code.engine.interfaces import Runtime
from green_code.link.messages import CompletionParams, CompletionResult, Device
from green_code.problems import Problem, retrieve_exception
from green_code.settings import PRESETS, STOPS, TOKENS_PER_LINE, default_settings

_POLICY: Final = re.compile(r"full|agent|fixed:[1-9]\d{0,3}|confidence:(0?\.\d+|0|1|1\.0+|0\.)")
_DECODINGS: Final = ("full", "fast", "exact")
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "session": (str,),
    "prefix": (str,),
    "suffix": (str,),
    "language": (str,),
    "model": (str,),
    "device": (str,),
    "decoding": (str,),
    "policy": (str,),
    "threshold": (float, int, str),
    "max_tokens": (int,),
    "single_line": (bool,),
    "max_lines": (int,),
    "max_prompt_tokens": (int,),
    "stop": (float, int, str),
    "alternatives": (int,),
    "place": (list,),
    "path": (str,),
    "snippets": (list,),
}
MAX_TOKENS: Final = 4096
ALTERNATIVES_AT_MOST: Final = 3
_FEATURES_AT_MOST: Final = 256
_SNIPPETS_AT_MOST: Final = 8

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
    for name in params:
        if name not in _TYPES:
            raise _bad(f"complete has no parameter {name}; it has {', '.join(_TYPES)}")
    for name, types in _TYPES.items():
        if name not in params:
            raise _bad(f"{name} is missing")
        value = params[name]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise _bad(f"{name} is of type {type(value).__name__}, not {types[0].__name__}")
    if params["decoding"] not in _DECODINGS:
        raise _bad(f"decoding is {params['decoding']!r}, none of {', '.join(_DECODINGS)}")
    if params["device"] not in get_args(Device):
        raise _bad(f"device is {params['device']!r}, none of {', '.join(get_args(Device))}")
    if not _POLICY.fullmatch(params["policy"]):
        raise _bad(f"policy is {params['policy']!r}, none of full, agent, fixed:LAYER, confidence:FRACTION")
    check_threshold(params["threshold"])
    check_stop(params["stop"])
    if len(params["place"]) > _FEATURES_AT_MOST or not all(map(_is_finite, params["place"])):
        raise _bad(f"place is no list of at most {_FEATURES_AT_MOST} finite numbers")
    if len(params["snippets"]) > _SNIPPETS_AT_MOST or not all(map(_is_snippet, params["snippets"])):
        raise _bad(f"snippets is no list of at most {_SNIPPETS_AT_MOST} maps of a path and a text")
    if not 0 <= params["alternatives"] <= ALTERNATIVES_AT_MOST:
        raise _bad(f"alternatives is {params['alternatives']}, outside 0 to {ALTERNATIVES_AT_MOST}")
    for name, most in (("max_tokens", MAX_TOKENS), ("max_lines", 1000), ("max_prompt_tokens", 1 << 20)):
        if not 1 <= params[name] <= most:
            raise _bad(f"{name} is {params[name]}, outside 1 to {most}")
    return cast(CompletionParams, dict(params))


def check_threshold(threshold: float | str) -> None:
    """Raises Problem `bad_request` unless it is a preset or a number from 0.5 to 1."""
    if threshold not in PRESETS and (isinstance(threshold, str) or not 0.5 <= threshold <= 1):
        raise _bad(f"threshold is {threshold!r}, neither a number from 0.5 to 1 nor one of {', '.join(PRESETS)}")


def check_stop(stop: float | str) -> None:
    """Raises Problem `bad_request` unless it is a preset or a number from 0 to 1, 1 excluded."""
    if stop not in STOPS and (isinstance(stop, str) or not 0 <= stop < 1):
        raise _bad(f"stop is {stop!r}, neither a number from 0 to below 1 nor one of {', '.join(STOPS)}")


def _is_finite(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(cast(float, value))


def _is_snippet(value: object) -> bool:
    is_map = isinstance(value, dict) and value.keys() == {"path", "text"}
    return is_map and all(isinstance(text, str) for text in cast(dict[str, object], value).values())


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
    return _argument(text, check_threshold)


def stop(text: str) -> float | str:
    """An argparse type: a number from 0 to below 1, or a preset."""
    return _argument(text, check_stop)


def _argument(text: str, check: Callable[[float | str], None]) -> float | str:
    value: float | str = text
    with contextlib.suppress(ValueError):
        value = float(text)
    try:
        check(value)
    except Problem as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None
    return value


def _bad(message: str) -> Problem:
    return Problem("bad_request", f"Bad request: {message}.")


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

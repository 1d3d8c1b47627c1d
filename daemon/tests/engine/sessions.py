"""A loaded `tiny-random` with fixed prices, its variants, and requests to its sessions."""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from green_code.decoding.healing import Chooser
from green_code.decoding.stop_rules import Situation
from green_code.energy.costs import CostModel
from green_code.engine import loading
from green_code.engine.loading import Runtime, load_measured
from green_code.engine.prompts import PromptLayout
from green_code.engine.requests import completion_params
from green_code.engine.session import Session
from green_code.link.messages import CompletionParams, CompletionResult
from green_code.models.fim import Fim
from green_code.work import Prices

LAYERS = 6
PRICES = Prices(
    layer_batch=0.5, small_batch_position=0.03, layer_position=0.06, head_batch=0.6, head_position=0.12, decision=0.01, kv_only=0.02,
)  # fmt: skip

PARAMS = completion_params(
    "def add(a, b):\n    return", model="tiny-random", decoding="full", policy="agent", threshold=0.8, max_tokens=6,
    single_line=False, max_lines=100, max_prompt_tokens=256,
)  # fmt: skip
EXACT: CompletionParams = {
    **PARAMS,
    "decoding": "exact",
    "prefix": "total = first + second\nvalue = first + second\nx = first",
    "suffix": "\nwhile first + second:\n    pass\n",
    "max_tokens": 24,
}
"""Its prompt repeats itself, and so gives drafts."""


@contextlib.contextmanager
def tiny_runtime(folder: Path, **environment: str) -> Iterator[Runtime]:
    """`tiny-random` without a bundle, its cache in `folder`; work costs `PRICES`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GREEN_CODE_CACHE_DIR", str(folder / "cache"))
        patch.setenv("GREEN_CODE_BUNDLES", str(folder / "bundles"))
        for name, value in environment.items():
            patch.setenv(name, value)
        costs = CostModel(PRICES, "estimate", "fixed prices", 0.0, 1.0)
        patch.setattr(loading, "measured_costs", lambda *_: costs)
        yield load_measured("tiny-random")


def with_exits(runtime: Runtime, prefill_exit: int | None = None, **changes: Any) -> Runtime:
    """The same model as if its bundle had exits at 2 and 4, but no agent."""
    copy = object.__new__(Runtime)
    copy.__dict__.update(runtime.__dict__, exits=(2, 4), prefill_exit=prefill_exit, **changes)
    return copy


def changed(params: CompletionParams, **changes: Any) -> CompletionParams:
    return {**params, **changes}  # type: ignore[typeddict-item]


def complete(session: Session, params: CompletionParams, interrupted_after: int | None = None) -> CompletionResult:
    """`interrupted_after`: how many checks for an interruption the request passes before it is superseded; None: all."""
    polls = itertools.count()
    never = interrupted_after is None
    cancelled = lambda: None if never or next(polls) < interrupted_after else "superseded"  # noqa: E731
    return session.complete(params, cancelled, budget_seconds=math.inf)  # a slow machine changes no text


def healed(session: Session, params: CompletionParams) -> tuple[list[int], bytes]:
    """A request's prompt, and the bytes that its first tokens must spell."""
    lines = params["single_line"], params["max_lines"]
    at = Situation.at(params["prefix"], params["suffix"], *lines, params["language"])
    prompt = session.prompt(params, at)
    return prompt.tokens, prompt.required


def undrafted(runtime: Runtime, params: CompletionParams) -> CompletionResult:
    """The result of a new session without drafts; instead of `exact`, at full depth."""
    if params["decoding"] == "exact":
        params = changed(params, decoding="full")
    return complete(Session(runtime, lookup=False), params)


def filling_in(runtime: Runtime, **changes: Any) -> Runtime:
    """The same model as if bytes that no text has were its tokens for fill-in-the-middle."""
    vocabulary = copy.copy(runtime.vocabulary)
    vocabulary.__dict__.pop("_sorted", None)
    ids = [vocabulary.token_bytes.index(bytes([byte])) for byte in range(0xF8, 0xFD)]
    vocabulary.token_bytes = [b"" if i in ids else spelled for i, spelled in enumerate(vocabulary.token_bytes)]
    vocabulary.eos |= {*ids}
    prefix, suffix, middle, file, repository = ids
    vocabulary.fim = Fim(prefix, suffix, middle, **{"file": file, "repository": repository, **changes})
    layout = PromptLayout("fim", vocabulary.fim)
    return with_exits(runtime, 4, vocabulary=vocabulary, chooser=Chooser(vocabulary), layout=layout)

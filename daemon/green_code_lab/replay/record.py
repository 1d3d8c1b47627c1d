"""Recording what would be suggested, with the backend of service, on an exact KV cache that typing keeps warm."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from green_code.decoding.cutting import finished
from green_code.decoding.exit_classifier import unit_rms
from green_code.decoding.exit_policies import ExitView
from green_code.decoding.healing import spelled_again
from green_code.decoding.kv_cache import KVCache
from green_code.decoding.stop_rules import Situation, check
from green_code.decoding.value_heads import value_depths
from green_code.engine.loading import Runtime
from green_code.engine.requests import completion_params
from green_code.lsp.prompt import PromptWindow
from green_code.models.bundle import DELTA, VOCABULARY, bundle_of
from green_code.models.catalog import find_model
from green_code.models.vocabulary import text_of
from green_code.sequences import common
from green_code.settings import PROMPT_TOKENS
from green_code_lab.replay.records import (
    FLOOR,
    LINE_FLOOR,
    MAX_LINES,
    MAX_TOKENS,
    REASONS,
    Records,
    is_recorded,
    write_records,
)
from green_code_lab.replay.spans import Span


def record_spans(runtime: Runtime, spans: Sequence[Span], path: Path, weights: str) -> None:
    """Into a file; one that holds these spans already is kept, so that a run can go on.

    Args:
        weights: see `weights_key`.
    """
    if is_recorded(path, spans, weights):
        return
    recorder = _Recorder(runtime)
    for span in spans:
        recorder.span(span)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_records(path, recorder.result(), weights)


def weights_key(model: str) -> str:
    """Identifies what full depth computes: the base model, and the bundle's vocabulary and delta.

    Lenses do not change it. An SVD head gives another token in one case of two hundred; that is left out, so that records can be made
    before it is.
    """
    bundle = bundle_of(model)
    files = bundle.manifest["files"] if bundle is not None else {}
    parts = [find_model(model).key, files.get(VOCABULARY), files.get(DELTA)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True)
class _Passed:
    """A position that has been through the layers. `low_states`: (C,) at each value depth. `view` keeps its top token."""

    low_states: list[np.ndarray]
    view: ExitView


class _Recorder:
    """Collects the columns of `Records`."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._depths = value_depths(runtime.layers_total)
        self._spans: list[Span] = []
        self._columns: dict[str, list[Any]] = {name: [] for name in (
            "span", "cursor", "prompt", "shared", "final_characters", "reasons", "tokens", "log_odds", "characters",
            "low_states",
        )}  # fmt: skip
        self._starts = [0]

    def result(self) -> Records:
        types = {"log_odds": np.float32, "low_states": np.float16}
        columns = {name: np.array(values, types.get(name, np.int32)) for name, values in self._columns.items()}
        return Records(spans=self._spans, starts=np.array(self._starts, np.int64), **columns)

    def span(self, span: Span) -> None:
        """Every cursor position of a span, over one cache, which keeps what it has from one to the next."""
        cache, session = KVCache(self._runtime.decoder), self._runtime.new_session()
        before, window, passed = list[int](), PromptWindow(), dict[int, _Passed]()
        for cursor in range(len(span.cursors)):
            prompt_text = window.prompt(*span.document_at(cursor), PROMPT_TOKENS)
            situation = Situation.at(prompt_text.prefix, prompt_text.suffix, False, MAX_LINES, span.language)
            asked = completion_params(
                prompt_text.prefix, suffix=prompt_text.suffix, language=span.language, max_prompt_tokens=PROMPT_TOKENS
            )
            read = session.prompt(asked, situation)
            prompt, required = read.tokens, read.required
            shared = common(cache.tokens, prompt)
            if shared < len(prompt) or cache.depth(shared - 1) < self._runtime.layers_total:
                shared = min(shared, len(prompt) - 1)
                cache.truncate(shared)
                cache.append(prompt[shared:])
            self._add("span", len(self._spans))
            self._add("cursor", cursor)
            self._add("prompt", len(prompt))
            self._add("shared", common(before, prompt))
            self._continue(cache, len(prompt) - 1, passed, required, situation)
            before = prompt
        self._spans.append(span)

    def _add(self, name: str, value: Any) -> None:
        self._columns[name].append(value)

    def _continue(
        self, cache: KVCache, last: int, passed: dict[int, _Passed], required: bytes, situation: Situation
    ) -> None:
        """Greedily behind position `last`. `passed`: by position, those of which the cache holds the state at the last layer."""
        runtime, vocabulary, data = self._runtime, self._runtime.vocabulary, bytearray()
        healed, product, text, reason, decides = spelled_again(required), 1.0, "", "max_tokens", last
        for _ in range(MAX_TOKENS):
            if cache.depth(last) < runtime.layers_total:
                passed[last] = self._pass(cache, last)
            if len(data) <= healed:
                decides = last  # the text's first token comes from here, unless this one only spells what is there
            top = runtime.chooser.choose(passed[last].view, required)
            token = top.token
            if token in vocabulary.eos:
                reason = "end_of_text"
                break
            data += vocabulary.token_bytes[token]
            earlier, text = text, text_of(bytes(data[healed:]))
            self._add("tokens", token)
            self._add("log_odds", top.log_odds)
            self._add("characters", len(text))
            required = runtime.chooser.left(required, token)
            product *= top.probability if len(data) > healed else 1.0
            if stop := check(text, situation):
                reason, length = stop
                text = text[:length]
                break
            if product < FLOOR:
                reason = "floor"
                break
            if "\n" in text[len(earlier) :] and (earlier + situation.line).strip() and product < LINE_FLOOR:
                reason = "line_floor"
                break
            last += 1
            if last == len(cache) or cache.tokens[last] != token:
                cache.truncate(last)
                cache.append([token])
        if reason not in ("floor", "line_floor"):
            text = finished(text, reason, situation)
        self._add("low_states", passed[decides].low_states)
        self._add("final_characters", len(text))
        self._add("reasons", REASONS.index(reason))
        self._starts.append(len(self._columns["tokens"]))

    def _pass(self, cache: KVCache, position: int) -> _Passed:
        """Take a position through the layers."""
        layers, low_states = self._runtime.layers_total, list[np.ndarray]()
        for depth in self._depths:
            cache.advance(position, depth, position)
            low_states.append(unit_rms(cache.state(position)))
        cache.advance(position, layers, position)
        return _Passed(low_states, ExitView(cache, position, layers, 0))

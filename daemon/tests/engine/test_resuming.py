"""A session that is typed in: it gives what a new session would, and a prompt that did not change costs its heads alone."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pytest
from sessions import EXACT, LAYERS, changed, complete, healed, undrafted, with_exits

from green_code.decoding.kv_cache import KVCache
from green_code.decoding.propagation import PropagatingKVCache
from green_code.decoding.verifier import Decoded, Verifier
from green_code.engine.loading import Runtime
from green_code.link.messages import CompletionParams, CompletionResult
from green_code.sequences import common

SOURCE = '''import json
from pathlib import Path


def read_totals(folder: Path, names: list[str]) -> dict[str, int]:
    """Totals by name; missing files count nothing."""
    totals = {}
    for name in names:
        path = folder / f"{name}.json"
        if path.exists():
            totals[name] = sum(json.loads(path.read_text())["values"])
    return totals


class Counter:
    def __init__(self, first: int = 0) -> None:
        self.first, self.total = first, first

    def add(self, value: int) -> int:
        self.total = self.total + value
        return self.total
'''
MODES = {"full": "full", "exact": "confidence:0.1", "fast": "confidence:0.1"}
SEEDS = range(3)


@dataclass(frozen=True)
class Request:
    params: CompletionParams
    interrupted_after: int | None = None


def typed_session(seed: int, decoding: str, requests: int = 30, interruptions: bool = True) -> Iterator[Request]:
    """Requests of somebody who types `SOURCE`, deletes some of it, and moves the cursor; settings change now and then."""
    chance = random.Random(seed)
    cursor = chance.randrange(40, 200)
    settings = {"policy": MODES[decoding], "stop": 0.0, "max_tokens": 8, "max_prompt_tokens": 256}
    for _ in range(requests):
        match chance.choices(("type", "delete", "move", "set"), (16, 3, 1, 1))[0]:
            case "type":
                cursor += chance.choice((1, 1, 1, 2, 4, 9))
            case "delete":
                cursor -= chance.choice((1, 1, 2, 3, 30))
            case "move":
                cursor = chance.randrange(40, len(SOURCE))
            case "set":
                settings |= {
                    "stop": chance.choice((0.0, 1e-6, 1e-3)),
                    "max_tokens": chance.choice((1, 8, 24)),
                    "max_prompt_tokens": chance.choice((48, 256)),
                    "single_line": chance.random() < 0.5,
                }
                if decoding == "fast":
                    settings["policy"] = chance.choice(
                        ("full", "fixed:4", "fixed:3", "confidence:0.01", "confidence:0.9")
                    )
        cursor = min(max(cursor, 1), len(SOURCE))
        params = {"decoding": decoding, "prefix": SOURCE[:cursor], "suffix": SOURCE[cursor:]}
        interrupted = interruptions and chance.random() < 0.15
        yield Request(changed(EXACT, **params, **settings), chance.randrange(6) if interrupted else None)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("decoding", ["full", "exact"])
def test_a_session_gives_what_a_new_one_would(either_runtime: Runtime, decoding: str, seed: int) -> None:
    session, shown = either_runtime.new_session(), 0
    for request in typed_session(seed, decoding):
        result = complete(session, request.params, request.interrupted_after)
        if result["reason"] == "superseded":
            continue
        expected = undrafted(either_runtime, request.params)
        assert [result[key] for key in ("text", "token_texts", "reason")] == [
            expected[key] for key in ("text", "token_texts", "reason")
        ]
        assert result["confidence"] == pytest.approx(expected["confidence"], rel=1e-3)
        shown += result["tokens"]
    assert shown > 30


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("prefill_exit", [4, 2])
def test_a_fast_session_decodes_nothing_that_is_propagated(
    either_runtime: Runtime, monkeypatch: pytest.MonkeyPatch, prefill_exit: int, seed: int
) -> None:
    """And nothing propagated remains for a request that must be exact."""
    verify, propagated = Verifier.verify, 0

    def checked(self: Verifier, cache: KVCache, start: int, required: bytes, drafts: Sequence[int]) -> list[Decoded]:
        nonlocal propagated
        assert isinstance(cache, PropagatingKVCache)
        assert not any(cache.is_propagated(i) for i in range(start, len(cache)))
        propagated += cache.is_propagated(0)
        return verify(self, cache, start, required, drafts)

    monkeypatch.setattr(Verifier, "verify", checked)
    runtime = with_exits(either_runtime, prefill_exit)
    session = runtime.new_session()
    for request in typed_session(seed, "fast", requests=60):
        result = complete(session, request.params, request.interrupted_after)
        assert result["prompt_reused"] <= result["prompt_tokens"]
        assert result["tokens"] or result["reason"] in ("superseded", "empty", "unlikely")
    assert propagated
    exact = changed(request.params, decoding="exact", policy="full")
    assert complete(session, exact)["token_texts"] == undrafted(runtime, exact)["token_texts"]


@pytest.mark.slow_on_torch
@pytest.mark.parametrize("decoding", ["full", "exact"])
def test_an_unchanged_prompt_runs_no_layer_for_tokens_that_agree(either_runtime: Runtime, decoding: str) -> None:
    session, before, unchanged, free = either_runtime.new_session(), ([], []), 0, 0
    for cursor in range(100, 400):
        params = changed(EXACT, decoding=decoding, policy=MODES[decoding], prefix=SOURCE[:cursor])
        prompt, _ = healed(session, params)
        work = session.work
        result = complete(session, params)
        work, tokens = session.work - work, result["token_texts"]
        if prompt == before[0]:
            agreed = common(before[1][:-1], tokens)  # the last token has no position yet
            passes = result["tokens"] + (result["reason"] == "end_of_text")
            forward = max(0, passes - 1 - agreed)
            assert work.layer_batches <= LAYERS * forward
            assert result["prompt_layers_run"] == 0 and result["prompt_reused"] == result["prompt_tokens"]
            if decoding == "full":
                assert work.layer_batches == LAYERS * forward and work.kv_only == 0
                assert result["energy_joules"] == pytest.approx(result["energy_full_joules"])
            assert work.head_batches > 0
            unchanged, free = unchanged + 1, free + (forward == 0 and work.layer_positions == 0)
        before = prompt, tokens
    assert unchanged > 30 and free > 5


@pytest.mark.parametrize("decoding", MODES)
def test_a_full_cache_is_resumed_to_its_last_position(
    either_runtime: Runtime, monkeypatch: pytest.MonkeyPatch, decoding: str
) -> None:
    monkeypatch.setattr(either_runtime.decoder, "config", replace(either_runtime.decoder.config, max_positions=40))
    monkeypatch.setattr(either_runtime, "positions", 40)
    params = changed(EXACT, decoding=decoding, policy="full", max_tokens=100)
    session = either_runtime.new_session()
    first, again = complete(session, params), complete(session, params)
    assert first["prompt_tokens"] + first["tokens"] == 41  # the last token needs no position
    assert (again["token_texts"], again["layers_run"]) == (first["token_texts"], 0)


@pytest.mark.parametrize("interruptions", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_full_depth_saves_nothing_while_somebody_types(either_runtime: Runtime, seed: int, interruptions: bool) -> None:
    session, results = either_runtime.new_session(), list[CompletionResult]()
    for request in typed_session(seed, "full", interruptions=interruptions):
        results.append(complete(session, request.params, request.interrupted_after))
        # The rest of an interrupted pass is a batch of its own.
        assert results[-1]["saving"] == pytest.approx(0, abs=0.1 if interruptions else 0.001)
    spent, full = (sum(r[name] for r in results) for name in ("energy_joules", "energy_full_joules"))
    assert spent == pytest.approx(full, rel=0.01 if interruptions else 0.001)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("decoding", ["exact", "fast"])
def test_the_baseline_is_what_full_depth_spends(either_runtime: Runtime, decoding: str, seed: int) -> None:
    """The same keys at full depth, in a session of their own, reuse as much. In `fast` other tokens may be decoded."""
    session, at_full_depth, claimed, spent = either_runtime.new_session(), either_runtime.new_session(), 0.0, 0.0
    for request in typed_session(seed, "exact", interruptions=False):
        result = complete(session, changed(request.params, decoding=decoding, policy="full"))
        claimed += result["energy_full_joules"]
        spent += complete(at_full_depth, changed(request.params, decoding="full"))["energy_joules"]
    assert claimed == pytest.approx(spent, rel=0.02)

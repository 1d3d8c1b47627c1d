"""A session's text and cache: the same text whatever is drafted, propagated, interrupted or refused; stops; reuse between keystrokes."""

from __future__ import annotations

import itertools
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sessions import EXACT, LAYERS, PARAMS, PRICES, changed, complete, tiny_runtime, undrafted, with_exits

from green_code.decoding.kv_cache import KVCache
from green_code.decoding.stopping import RunningProduct, StopView
from green_code.energy.costs import TURNS
from green_code.engine import measured_costs
from green_code.engine.loading import Runtime, load_measured, load_runtime
from green_code.settings import STOPS


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with tiny_runtime(tmp_path_factory.mktemp("tiny")) as runtime:
        yield runtime


def test_a_policy_without_a_bundle_needs_no_calibration(runtime: Runtime) -> None:
    fixed = changed(PARAMS, decoding="fast", policy="fixed:2", threshold="balanced")
    result = complete(runtime.new_session(), fixed)
    assert result["exits"] == [2] * 6
    assert result["saving"] > 0.3


def test_exits_without_an_agent_serve_full_depth(runtime: Runtime) -> None:
    without_agent = with_exits(runtime)
    for decoding in ("fast", "exact"):
        asked = changed(PARAMS, decoding=decoding, policy="agent", threshold="balanced")
        assert complete(without_agent.new_session(), asked)["exits"] == [LAYERS] * 6


def test_the_next_keystroke_runs_only_new_positions(runtime: Runtime) -> None:
    session, typed = runtime.new_session(), changed(PARAMS, prefix=PARAMS["prefix"] + " a")
    complete(session, PARAMS)
    again, fresh = complete(session, typed), complete(runtime.new_session(), typed)
    assert again["text"] == fresh["text"]
    assert again["prompt_reused"] >= fresh["prompt_tokens"] - 4
    assert again["prompt_layers_run"] <= LAYERS * 4


def test_costs_are_measured_once_for_a_model_a_build_and_a_meter(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("green_code.engine.loading._window_seconds", lambda _: 0.02)
    monkeypatch.setattr("green_code.engine.loading.measured_costs", measured_costs.measured_costs)
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path))
    assert load_runtime("tiny-random").costs.assumed
    first = load_measured("tiny-random").costs
    assert not first.assumed
    assert first == load_measured("tiny-random").costs == load_runtime("tiny-random").costs
    with monkeypatch.context() as other_build:
        other_build.setattr(type(runtime.decoder), "build", "another")
        assert load_runtime("tiny-random").costs.assumed
    monkeypatch.setenv("GREEN_CODE_WATTS_PER_CORE", "100")
    if first.source == "estimate":
        assert "100 W" in load_measured("tiny-random").costs.meter


def test_measured_costs_replace_assumed_ones_between_two_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pieces; one that is interrupted is measured again. The cache and what drafts were worth stay."""
    monkeypatch.setattr("green_code.engine.loading._window_seconds", lambda _: 0.02)
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path))
    loaded = load_runtime("tiny-random")
    assert loaded.costs_assumed
    session = loaded.new_session()
    before = complete(session, EXACT)
    assert before["energy_source"] == "estimate" and before["energy_joules"] > 0
    polls = itertools.count()
    loaded.measure_costs(lambda: next(polls) >= 3)
    assert next(polls) > 3 and loaded.costs_assumed
    pieces = 0
    while loaded.costs_assumed:
        loaded.measure_costs(lambda: False)
        pieces += 1
    assert pieces == 7 * TURNS, "the interrupted one came again"
    after = complete(session, changed(EXACT, prefix=EXACT["prefix"] + " + "))
    assert after["prompt_reused"] > 0
    assert session.book.full_pass.prices.layer_batch == loaded.costs.prices.layer_batch
    assert session.book.rounds > 0
    kept = load_runtime("tiny-random").costs
    assert kept == loaded.costs


def test_a_closed_runtime_keeps_no_model(runtime: Runtime) -> None:
    loaded = load_runtime("tiny-random")
    complete(loaded.new_session(), PARAMS)
    decoder = weakref.ref(loaded.decoder)
    loaded.close()
    deadline = time.monotonic() + 10
    while decoder() is not None:  # calls of it may still be in the kernel's thread pool
        assert time.monotonic() < deadline
        time.sleep(0.01)


DRAFTING = pytest.mark.parametrize(
    "changes",
    [
        {"decoding": "exact", "policy": "full"},
        {"decoding": "exact", "policy": "fixed:2"},
        {"decoding": "fast", "policy": "fixed:2"},
        {"decoding": "fast", "policy": "confidence:0.1"},
    ],
    ids=lambda changes: " ".join(changes.values()),
)


@DRAFTING
def test_drafts_change_no_text_through_edits(runtime: Runtime, changes: dict[str, str]) -> None:
    """One session types, goes back and goes on; each text is that of a new session without drafts."""
    runtime = with_exits(runtime)
    session = runtime.new_session()
    prefixes = (EXACT["prefix"], EXACT["prefix"] + " + s", "total = first - second\nx", "", EXACT["prefix"][:30])
    for prefix, suffix in itertools.product(prefixes, (EXACT["suffix"], "\n\n", "")):
        params = changed(EXACT, **changes, prefix=prefix, suffix=suffix)
        result, expected = complete(session, params), undrafted(runtime, params)
        assert (result["text"], result["token_texts"]) == (expected["text"], expected["token_texts"])
        lookup = session.lookup
        assert lookup is not None
        if prefix:
            document = runtime.vocabulary.decode(lookup.document.tokens)
            assert document.startswith(prefix[: len(prefix) - 8])  # token healing removes the last token
    session.trim()
    assert complete(session, changed(EXACT, **changes))["token_texts"]


@DRAFTING
def test_drafts_change_no_text_after_interruptions(runtime: Runtime, changes: dict[str, str]) -> None:
    runtime, params = with_exits(runtime), changed(EXACT, **changes)
    session = runtime.new_session()
    for polls in range(0, 60, 7):
        interrupted = complete(session, params, interrupted_after=polls)
        assert interrupted["text"] == "" or interrupted["reason"] != "superseded"
    assert complete(session, params)["token_texts"] == undrafted(runtime, params)["token_texts"]


def test_exact_repeats_an_earlier_completion_in_fewer_passes(runtime: Runtime) -> None:
    session = runtime.new_session()
    first = complete(session, EXACT)
    passes = session.book.rounds
    second = complete(session, EXACT)
    assert second["token_texts"] == first["token_texts"]
    assert session.book.rounds - passes < passes
    assert second["energy_joules"] < first["energy_joules"]


@pytest.mark.parametrize("prefill_exit", [4, 3, 1])
def test_exact_after_fast_gives_the_text_of_full_depth(runtime: Runtime, prefill_exit: int) -> None:
    """With the prefill exit at an exit, between two, and before the first."""
    runtime = with_exits(runtime, prefill_exit)
    session, expected = runtime.new_session(), undrafted(runtime, EXACT)
    fast = changed(EXACT, decoding="fast", policy="confidence:0.9")
    longer = changed(fast, prefix=EXACT["prefix"] + "s = first")
    for edits in ((fast, longer, fast), (longer,)):
        for params in edits:
            complete(session, params)
        assert session._cache.work.kv_only
        result = complete(session, changed(EXACT, policy="full"))
        assert (result["text"], result["token_texts"]) == (expected["text"], expected["token_texts"])


def test_a_confidence_that_no_token_reaches_gives_the_text_of_full_depth(runtime: Runtime) -> None:
    runtime = with_exits(runtime, prefill_exit=4)
    result = complete(runtime.new_session(), changed(EXACT, decoding="fast", policy="confidence:1"))
    assert result["token_texts"] == undrafted(runtime, changed(EXACT, policy="full"))["token_texts"]


# --- stops --------------------------------------------------------------------------------------------------

THRESHOLDS = (1e-12, 1e-6, 1e-3, 0.1, 0.7)
"""A model with random weights is never sure."""
TYPED = (
    EXACT["prefix"], EXACT["prefix"] + " + s", EXACT["prefix"] + " + second\nself", "total = first - second\nx",
    "def add(a, b):\n    return", "for i in range(10):\n    print(", EXACT["prefix"][:30],
)  # fmt: skip


@pytest.mark.slow_on_torch
@pytest.mark.parametrize("single_line", [True, False])
@DRAFTING
def test_with_a_stop_drafts_change_no_text(either_runtime: Runtime, changes: dict[str, str], single_line: bool) -> None:
    """In `exact` the text is that of full depth with the same stop."""
    runtime = with_exits(either_runtime)
    session = runtime.new_session()
    for prefix, stop in itertools.product(TYPED, THRESHOLDS):
        params = changed(EXACT, **changes, prefix=prefix, stop=stop, single_line=single_line)
        result, expected = complete(session, params), undrafted(runtime, params)
        assert [result[key] for key in ("text", "token_texts", "reason")] == [
            expected[key] for key in ("text", "token_texts", "reason")
        ]
        assert result["confidence"] == pytest.approx(expected["confidence"], rel=1e-3)
        assert bool(result["text"]) == (result["confidence"] > 0)


@DRAFTING
def test_a_higher_threshold_ends_sooner(either_runtime: Runtime, changes: dict[str, str]) -> None:
    session, stopped = either_runtime.new_session(), 0
    for prefix in TYPED:
        longest = complete(session, changed(EXACT, **changes, prefix=prefix, stop=0.0))["token_texts"]
        for stop in THRESHOLDS:
            result = complete(session, changed(EXACT, **changes, prefix=prefix, stop=stop))
            tokens = result["token_texts"]
            assert tokens == longest[: len(tokens)]
            stopped += len(tokens) < len(longest)
            longest = tokens
    assert stopped > len(TYPED)


def test_a_preset_is_the_number_of_the_calibration(runtime: Runtime) -> None:
    def stop(runtime: Runtime, stop: float | str) -> object:
        return runtime.stop(changed(PARAMS, stop=stop))

    assert stop(runtime, 0.0) is None
    assert stop(runtime, 0.3) == RunningProduct(0.3)
    calibrated = with_exits(runtime, calibration={"suggestions": {"presets": {"sure": {"stop": 0.7}}}})
    for name, default in STOPS.items():
        assert stop(runtime, name) == RunningProduct(default)
        assert stop(calibrated, name) == RunningProduct(0.7 if name == "sure" else default)


@dataclass
class Refusing:
    """Refuses at layer 2, or not."""

    refused: bool = True
    depths: tuple[int, ...] = (2,)
    threshold: float = 0.0

    @property
    def refusal(self) -> Any:
        return self

    def refuses(self, cache: KVCache, position: int, depth: int) -> bool:
        assert (position, cache.depth(position), depth) == (len(cache) - 1, 2, 2)
        return self.refused

    def right(self, cache: KVCache, view: StopView) -> float:
        return 1.0


@pytest.mark.parametrize("decoding", ["full", "exact", "fast"])
def test_a_refused_request_runs_the_lower_layers_alone(either_runtime: Runtime, decoding: str) -> None:
    policy = Refusing()
    runtime = with_exits(either_runtime, prefill_exit=4, stop=lambda _: policy)
    params = changed(EXACT, decoding=decoding, policy="full" if decoding == "full" else "confidence:0.1")
    session = runtime.new_session()
    refused = complete(session, params)
    assert (refused["text"], refused["reason"], refused["tokens"], refused["confidence"]) == ("", "unlikely", 0, 0)
    positions = refused["prompt_tokens"]
    assert (refused["prompt_layers_run"], refused["layers_run"], refused["saving"]) == (2 * positions, 0, 0)
    price = 2 * (PRICES.layer_batch + 4 * PRICES.small_batch_position + (positions - 4) * PRICES.layer_position)
    assert refused["energy_joules"] == pytest.approx(price) == PRICES.of(session.work)
    policy.refused = False
    again, fresh = complete(session, params), complete(runtime.new_session(), params)
    assert [again[key] for key in ("text", "token_texts", "exits")] == [
        fresh[key] for key in ("text", "token_texts", "exits")
    ]
    assert again["prompt_layers_run"] == fresh["prompt_layers_run"] - 2 * positions
    if decoding == "full":
        assert again["saving"] == pytest.approx(0, abs=0.01)

"""Value heads and stop agent in a session: what is refused, what a refusal costs, and that the text is that of full depth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sessions import EXACT, PRICES, changed, complete, healed, with_exits
from test_resuming import SOURCE, typed_session

from green_code.decoding.kv_cache import KVCache
from green_code.decoding.stopping import RunningProduct, StopAgent, StopView
from green_code.decoding.value_heads import ValueHeads
from green_code.engine.loading import Runtime
from green_code.engine.session import Session
from green_code.link.messages import CompletionParams, CompletionResult
from tests.decoding.networks import stop_network, value_heads

DEPTHS, PLACE = (2, 3), [0.25, -1.0, 3.0]
STOP = 1e-9  # a model with random weights is sure of nothing
SEEDS = range(3)
BOUNDS = {"2": 11.5, "3": 26.3}


def heads(runtime: Runtime) -> ValueHeads:
    """Random, so that they refuse some and not others."""
    return value_heads(runtime.decoder.config.width, DEPTHS, len(PLACE), seed=2)


def calibrated(runtime: Runtime, refusal: Mapping[str, float], stop: float = STOP) -> Runtime:
    """With a stop agent that is rather sure of tokens."""
    network = stop_network()
    network.parameters["2.bias"][:] = 2.0
    calibration = {"suggestions": {"presets": {"balanced": {"stop": stop, "refusal": refusal}}}}
    return with_exits(
        runtime, prefill_exit=4, stop_network=network, value_heads=heads(runtime), calibration=calibration
    )


def at(cursor: int, **changes: Any) -> CompletionParams:
    text = {"prefix": SOURCE[:cursor], "suffix": SOURCE[cursor:]}
    return changed(EXACT, policy="full", stop="balanced", place=PLACE, max_tokens=8, **text, **changes)


def shown(result: CompletionResult) -> list[Any]:
    return [result[key] for key in ("text", "token_texts", "reason")]


CURSORS = range(60, 640, 7)


def test_only_a_preset_with_bounds_and_a_place_may_refuse(either_runtime: Runtime) -> None:
    runtime = calibrated(either_runtime, BOUNDS)
    without_agent = with_exits(runtime, stop_network=None)
    for changes, may in (
        ({}, True), ({"place": []}, False), ({"place": PLACE[:2]}, False), ({"place": [*PLACE, 1.0]}, False), ({"stop": 0.4}, False),
        ({"stop": "sure"}, False),
    ):  # fmt: skip
        params: CompletionParams = {**at(100), **changes}  # type: ignore[typeddict-item]
        for own, kind in ((runtime, StopAgent), (without_agent, RunningProduct)):
            stop = own.stop(params)
            assert isinstance(stop, kind) and (stop.refusal is not None) == may
            assert stop.refusal is None or list(stop.refusal.depths) == [*DEPTHS]
    one = calibrated(either_runtime, {"3": 1.0}).stop(at(100))
    assert one is not None and one.refusal is not None and list(one.refusal.depths) == [3]
    assert runtime.stop(changed(at(100), stop=0.0)) is None
    assert with_exits(without_agent, value_heads=None).stop(at(100)) == RunningProduct(STOP)


@pytest.mark.parametrize("decoding", ["full", "exact", "fast"])
def test_it_refuses_where_too_little_is_expected(either_runtime: Runtime, decoding: str) -> None:
    """What is expected is computed from the states of a cache of its own."""
    runtime, refused = calibrated(either_runtime, BOUNDS), dict.fromkeys((*DEPTHS, None), 0)
    for cursor in CURSORS:
        session, params = runtime.new_session(), at(cursor, decoding=decoding)
        prompt, _ = healed(session, params)
        cache, last, where, near = KVCache(runtime.decoder), len(prompt) - 1, None, False
        cache.append(prompt)
        for depth in DEPTHS:
            cache.advance(last, depth)
            expected, bound = heads(runtime).characters(depth, cache.state(last), PLACE), BOUNDS[str(depth)]
            near = near or abs(expected - bound) < 0.05
            where = depth if where is None and expected < bound else where
        result = complete(session, params)
        if not near and where is not None:
            assert shown(result) == ["", [], "unlikely"] and result["confidence"] == 0
            assert result["prompt_layers_run"] == where * len(prompt)
        elif not near:
            assert result["token_texts"] or result["layers_run"]
        refused[where] += 1
        unplaced = complete(runtime.new_session(), changed(params, place=[]))
        assert unplaced["tokens"] or unplaced["reason"] == "empty"
    assert min(refused.values()) > 8


@pytest.mark.slow_on_torch
@pytest.mark.parametrize("decoding", ["full", "exact", "fast"])
def test_it_is_deterministic(either_runtime: Runtime, decoding: str) -> None:
    runtime, results = calibrated(either_runtime, BOUNDS), []
    for _ in range(2):
        session = runtime.new_session()
        done = [complete(session, at(cursor, decoding=decoding)) for cursor in CURSORS]
        results.append([(shown(each), each["confidence"], each["energy_joules"]) for each in done])
    assert results[0] == results[1]


@pytest.mark.slow_on_torch
@pytest.mark.parametrize("stop", [STOP, 0.6, 0.9])
def test_exact_gives_the_text_of_full_depth(either_runtime: Runtime, stop: float) -> None:
    """Behind tokens that only spell what is there full depth may refuse, where a draft has brought `exact` further already."""
    runtime, equal, refused, agreed = calibrated(either_runtime, BOUNDS, stop), 0, 0, 0
    freely = calibrated(either_runtime, {}, stop)
    for cursor in CURSORS:
        full, exact = (complete(runtime.new_session(), at(cursor, decoding=name)) for name in ("full", "exact"))
        refused += full["reason"] == "unlikely"
        if shown(full) == shown(exact):
            equal += 1
            assert full["confidence"] == pytest.approx(exact["confidence"], rel=1e-3)
            agreed += full["reason"] != "unlikely"
        else:
            assert full["reason"] == "unlikely"
            assert shown(exact) == shown(complete(freely.new_session(), at(cursor, decoding="full")))
    assert equal > 0.9 * len(CURSORS) and refused > 10 and (agreed > 10 or stop == 0.9)


@dataclass
class Refusing:
    """Refuses from the second question on, behind a token that only spells what is there."""

    refused: bool = True
    asked: int = 0
    depths: tuple[int, ...] = (DEPTHS[0],)
    threshold: float = 0.0

    @property
    def refusal(self) -> Any:
        return self

    def refuses(self, cache: KVCache, position: int, depth: int) -> bool:
        assert cache.depth(position) == depth
        self.asked += 1
        return self.refused and self.asked == 2

    def right(self, cache: KVCache, view: StopView) -> float:
        return 1.0


def respelled(runtime: Runtime) -> Iterator[CompletionParams]:
    """Requests whose first token spells exactly what healing took back."""
    for cursor in range(60, 300):
        params = at(cursor, decoding="full")
        session = runtime.new_session()
        _, required = healed(session, params)
        first = complete(session, changed(params, stop=0.0, max_tokens=1))
        if required and first["token_texts"] == [required.decode(errors="replace")]:
            yield params


@pytest.mark.parametrize("decoding", ["full", "exact", "fast"])
def test_a_refusal_behind_respelled_tokens_costs_their_passes_and_its_lower_layers(
    either_runtime: Runtime, decoding: str
) -> None:
    policy = Refusing()
    runtime = with_exits(either_runtime, stop=lambda _: policy)
    params = changed(next(respelled(either_runtime)), decoding=decoding)
    session = Session(runtime, lookup=False)
    refused = complete(session, params)
    assert (refused["text"], refused["reason"], refused["tokens"], policy.asked) == ("", "unlikely", 1, 2)
    one_token = complete(Session(runtime, lookup=False), changed(params, max_tokens=1))
    assert refused["layers_run"] == one_token["layers_run"] + DEPTHS[0]
    lower = DEPTHS[0] * (PRICES.layer_batch + PRICES.small_batch_position)
    assert refused["energy_joules"] == pytest.approx(one_token["energy_joules"] + lower, abs=0.2)
    assert refused["saving"] == pytest.approx(0, abs=0.02)

    policy.refused = False
    again, fresh = complete(session, params), complete(Session(runtime, lookup=False), params)
    assert shown(again) == shown(fresh) and again["exits"] == fresh["exits"]
    assert again["prompt_layers_run"] == 0
    assert again["layers_run"] == fresh["layers_run"]
    if decoding == "full":
        assert again["saving"] == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("seed", SEEDS)
def test_full_depth_saves_nothing_while_somebody_types_and_some_is_refused(either_runtime: Runtime, seed: int) -> None:
    """What the agent itself costs is its own, and left out here."""
    runtime, results = calibrated(either_runtime, BOUNDS), list[CompletionResult]()
    runtime.costs = replace(runtime.costs, prices=replace(PRICES, decision=0.0))
    session = runtime.new_session()
    for request in typed_session(seed, "full", requests=60, interruptions=False):
        results.append(complete(session, changed(request.params, stop="balanced", place=PLACE)))
    assert sum(result["reason"] == "unlikely" for result in results) > 5
    for result in results:  # which positions of a batch are its first is known but for one or two
        assert result["saving"] == pytest.approx(0, abs=0.01)
    spent, full = (sum(result[key] for result in results) for key in ("energy_joules", "energy_full_joules"))  # type: ignore[literal-required]
    assert spent == pytest.approx(full, rel=2e-3)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("decoding", ["full", "exact"])
def test_a_session_with_refusals_shows_what_one_without_would(
    either_runtime: Runtime, decoding: str, seed: int
) -> None:
    """Or nothing."""
    runtime, freely = calibrated(either_runtime, BOUNDS), calibrated(either_runtime, {})
    session, refused, kept = runtime.new_session(), 0, 0
    for request in typed_session(seed, decoding):
        params = changed(request.params, stop="balanced", place=PLACE)
        result = complete(session, params, request.interrupted_after)
        if result["reason"] == "unlikely":
            refused += 1
        elif result["reason"] != "superseded":
            assert shown(result) == shown(complete(freely.new_session(), changed(params, decoding="full")))
            kept += 1
    assert refused > 2 and kept > 2

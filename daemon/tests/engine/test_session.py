"""A session's accounts: at full depth nothing is saved, however a completion ends; and its cache between keystrokes."""

from __future__ import annotations

import itertools
import time
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from green_code.decoding.exit_classifier import ExitClassifier
from green_code.decoding.exit_policies import agent_for
from green_code.decoding.price_book import MAX_LOSS
from green_code.decoding.propagation import EXACT_TAIL
from green_code.engine.loading import Runtime, load_runtime
from green_code.engine.session import Session
from green_code.link.messages import CompletionParams, CompletionResult, Decoding
from green_code.problems import Problem

PARAMS: CompletionParams = {
    "session": "a",
    "prefix": "def add(a, b):\n    return",
    "suffix": "",
    "language": "python",
    "model": "tiny-random",
    "decoding": "full",
    "policy": "agent",
    "threshold": 0.8,
    "max_tokens": 6,
    "single_line": False,
    "max_lines": 100,
    "max_prompt_tokens": 256,
}


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("GREEN_CODE_BUNDLES", str(tmp_path_factory.mktemp("bundles")))
        yield load_runtime("tiny-random")


def test_full_depth_saves_nothing(runtime: Runtime) -> None:
    result = runtime.new_session().complete(PARAMS, lambda: None)
    assert result["tokens"] == 6
    assert result["saving"] == pytest.approx(0)
    assert result["exits"] == [6] * 6


def test_at_threshold_1_the_agent_is_not_asked(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    network = ExitClassifier(runtime.decoder.config.width, (2, 4))
    monkeypatch.setattr(runtime, "exits", (2, 4))
    monkeypatch.setattr(runtime, "agent", agent_for(network, runtime.decoder))
    fast = {**PARAMS, "decoding": "fast"}
    asked, not_asked, full = (
        runtime.new_session().complete({**fast, **changes}, lambda: None)  # type: ignore[typeddict-item]
        for changes in ({"threshold": 0.999}, {"threshold": 1.0}, {"policy": "full"})
    )
    assert not_asked["text"] == full["text"]
    assert not_asked["energy_joules"] == full["energy_joules"] < asked["energy_joules"]


def test_full_depth_saves_nothing_when_the_text_ends(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pass that says so is one that full depth makes as well."""
    monkeypatch.setattr(runtime.vocabulary, "eos", range(len(runtime.vocabulary)))
    result = runtime.new_session().complete(PARAMS, lambda: None)
    assert (result["reason"], result["tokens"]) == ("empty", 0)
    assert result["energy_joules"] > 0
    assert result["saving"] == pytest.approx(0)


@pytest.mark.parametrize("layers", [0, 3, 6 + 3, 4 * 6 + 1])
def test_an_interrupted_completion_keeps_its_tokens_and_books_no_loss(
    runtime: Runtime, layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime.decoder, "layers_at_once", 1)
    calls = itertools.count()
    result = runtime.new_session().complete(PARAMS, lambda: "superseded" if next(calls) >= layers else None)
    assert result["reason"] == "superseded"
    assert result["text"] == ""
    assert result["tokens"] == layers // 6
    assert result["energy_joules"] >= 0
    assert result["saving"] == pytest.approx(0)


@pytest.mark.parametrize("decoding", ["full", "fast", "exact"])
def test_after_one_that_was_overtaken_at_once_the_whole_prompt_counts(
    runtime: Runtime, decoding: str
) -> None:
    asked: CompletionParams = {**PARAMS, "decoding": decoding}  # type: ignore[typeddict-item]
    session = runtime.new_session()
    session.complete(asked, lambda: "superseded")
    result, fresh = session.complete(asked, lambda: None), runtime.new_session().complete(asked, lambda: None)
    assert (result["prompt_reused"], result["energy_full_joules"]) == (0, fresh["energy_full_joules"])
    assert result["saving"] == pytest.approx(fresh["saving"], abs=0.02)


@pytest.fixture(scope="module")
def layer_by_layer(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """In torch, where a prompt can be overtaken behind each layer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GREEN_CODE_KERNEL", "off")
        patch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("GREEN_CODE_BUNDLES", str(tmp_path_factory.mktemp("bundles")))
        return load_runtime("tiny-random")


@pytest.mark.parametrize("layers_run", range(1, 4))
def test_a_prompt_that_was_overtaken_part_way_is_not_left_out_of_what_full_depth_costs(
    layer_by_layer: Runtime, layers_run: int
) -> None:
    served = replace_exits(layer_by_layer)
    prices = replace(
        layer_by_layer.costs.prices, layer_batch=1.0, small_batch_position=0.1, layer_position=0.1
    )
    served.costs = replace(layer_by_layer.costs, prices=prices)
    policies: tuple[tuple[Decoding, str], ...] = (("full", "full"), ("fast", "fixed:4"))
    (full, again), (fast, quicker) = (
        _overtaken_then_typed(served, {**PARAMS, "decoding": decoding, "policy": policy}, layers_run)
        for decoding, policy in policies
    )
    assert (full["reason"], full["tokens"], full["saving"]) == ("superseded", 0, 0)
    assert again["prompt_reused"] > 0 and again["saving"] == pytest.approx(0, abs=0.01)
    assert fast["saving"] == 0 and quicker["saving"] > 0.2
    assert quicker["energy_full_joules"] == again["energy_full_joules"], "whoever decodes"


def _overtaken_then_typed(
    served: Runtime, asked: CompletionParams, layers_run: int
) -> tuple[CompletionResult, CompletionResult]:
    session, polls = served.new_session(), itertools.count()
    overtaken = session.complete(asked, lambda: "superseded" if next(polls) >= layers_run else None)
    return overtaken, session.complete({**asked, "prefix": asked["prefix"] + " a"}, lambda: None)


def test_a_policy_without_a_bundle_needs_no_calibration(runtime: Runtime) -> None:
    fixed: CompletionParams = {**PARAMS, "decoding": "fast", "policy": "fixed:2", "threshold": "balanced"}
    result = runtime.new_session().complete(fixed, lambda: None)
    assert result["exits"] == [2] * 6
    assert result["saving"] > 0.3
    with pytest.raises(Problem, match="has no agent"):
        runtime_with_exits = replace_exits(runtime)
        runtime_with_exits.new_session().complete(
            {**fixed, "policy": "agent", "threshold": 0.8}, lambda: None
        )


def replace_exits(runtime: Runtime, prefill_exit: int | None = None) -> Runtime:
    """The same model as if its bundle had exits, but no agent."""
    copy = object.__new__(Runtime)
    copy.__dict__.update(runtime.__dict__, exits=(2, 4), prefill_exit=prefill_exit)
    return copy


def test_rules_pay_for_no_agent(runtime: Runtime) -> None:
    copy = replace_exits(runtime)
    copy.costs = replace(runtime.costs, prices=replace(runtime.costs.prices, decision=1e6))
    confident: CompletionParams = {**PARAMS, "decoding": "fast", "policy": "confidence:0.5"}
    assert copy.new_session().complete(confident, lambda: None)["energy_joules"] < 1e6


def test_the_next_keystroke_runs_only_what_is_new(runtime: Runtime) -> None:
    session = runtime.new_session()
    session.complete(PARAMS, lambda: None)
    typed: CompletionParams = {**PARAMS, "prefix": PARAMS["prefix"] + " a"}
    again, fresh = session.complete(typed, lambda: None), runtime.new_session().complete(typed, lambda: None)
    assert again["text"] == fresh["text"]
    assert again["prompt_reused"] >= fresh["prompt_tokens"] - 4
    assert again["prompt_layers_run"] <= 6 * 4


def test_an_empty_prompt_runs_nothing(runtime: Runtime) -> None:
    used = runtime.new_session()
    used.complete(PARAMS, lambda: None)
    for session in (runtime.new_session(), used):
        result = session.complete({**PARAMS, "prefix": " \n"}, lambda: None)
        assert (result["reason"], result["text"], result["energy_joules"]) == ("no_context", "", 0)
        assert (result["layers_run"], result["prompt_layers_run"]) == (0, 0)


def test_costs_are_measured_once_for_a_model_a_build_and_a_meter(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("GREEN_CODE_BUNDLES", str(tmp_path / "none"))
    first, second = load_runtime("tiny-random").costs, load_runtime("tiny-random").costs
    assert first == second
    with monkeypatch.context() as other:
        other.setattr(type(runtime.decoder), "build", "another")
        assert load_runtime("tiny-random").costs != first
    monkeypatch.setenv("GREEN_CODE_WATTS_PER_CORE", "100")
    if first.source == "estimate":
        assert "100 W" in load_runtime("tiny-random").costs.meter


def test_a_closed_runtime_keeps_no_model(runtime: Runtime) -> None:
    loaded = load_runtime("tiny-random")
    loaded.new_session().complete(PARAMS, lambda: None)
    decoder = weakref.ref(loaded.decoder)
    loaded.close()
    deadline = time.monotonic() + 10
    while decoder() is not None:  # the kernel's helper may have calls of it in its queue yet
        assert time.monotonic() < deadline
        time.sleep(0.01)


EXACT: CompletionParams = {
    **PARAMS,
    "decoding": "exact",
    "prefix": "total = first + second\nvalue = first + second\nx = first",
    "suffix": "\nwhile first + second:\n    pass\n",
    "max_tokens": 24,
}


DRAFTED = pytest.mark.parametrize(
    "how",
    [
        {"decoding": "exact", "policy": "full"},
        {"decoding": "exact", "policy": "fixed:2"},
        {"decoding": "fast", "policy": "fixed:2"},
        {"decoding": "fast", "policy": "confidence:0.1"},
    ],
)


def undrafted(runtime: Runtime, asked: CompletionParams) -> CompletionResult:
    """A fresh session that drafts nothing; for `exact`, at full depth."""
    if asked["decoding"] == "exact":
        asked = {**asked, "decoding": "full"}
    return Session(runtime, lookup=False).complete(asked, lambda: None)


@DRAFTED
def test_drafts_change_nothing_through_edits(runtime: Runtime, how: dict[str, Any]) -> None:
    """One session types, goes back and moves on; each time a fresh one without drafts says the same."""
    runtime = replace_exits(runtime)
    session = runtime.new_session()
    texts = (EXACT["prefix"], EXACT["prefix"] + " + s", "total = first - second\nx", "", EXACT["prefix"][:30])
    for prefix, suffix in itertools.product(texts, (EXACT["suffix"], "\n\n", "")):
        asked: CompletionParams = {**EXACT, **how, "prefix": prefix, "suffix": suffix}  # type: ignore[typeddict-item]
        got, plain = session.complete(asked, lambda: None), undrafted(runtime, asked)
        assert (got["text"], got["token_texts"]) == (plain["text"], plain["token_texts"])
        lookup = session.lookup
        assert lookup is not None
        if prefix:
            prompt = runtime.vocabulary.decode(lookup.document.tokens)
            assert prompt.startswith(prefix[: len(prefix) - 8])  # healing takes the last token back
    session.trim()
    assert session.complete({**EXACT, **how}, lambda: None)["token_texts"]  # type: ignore[typeddict-item]


@DRAFTED
def test_drafting_goes_on_after_an_interruption(runtime: Runtime, how: dict[str, Any]) -> None:
    """Wherever it is interrupted, the same session then says what one without drafts says."""
    runtime = replace_exits(runtime)
    asked: CompletionParams = {**EXACT, **how}  # type: ignore[typeddict-item]
    session = runtime.new_session()
    for layers in range(0, 60, 7):
        calls = itertools.count()
        cut = session.complete(asked, lambda: "superseded" if next(calls) >= layers else None)  # noqa: B023
        assert cut["text"] == "" or cut["reason"] != "superseded"
    assert session.complete(asked, lambda: None)["token_texts"] == undrafted(runtime, asked)["token_texts"]


def test_what_interruptions_cost_is_not_held_against_drafts(runtime: Runtime) -> None:
    session = runtime.new_session()
    asked: CompletionParams = {**EXACT, "prefix": 3 * EXACT["prefix"]}
    for layers in (2, 5, 4):
        calls = itertools.count()
        cut = session.complete(asked, lambda: "superseded" if next(calls) >= layers else None)  # noqa: B023
        assert cut["energy_joules"] > 0
        assert session.book.spent <= (1 + MAX_LOSS) * session.book.full_depth
    session.complete(asked, lambda: None)
    assert session.book.spent <= (1 + MAX_LOSS) * session.book.full_depth


def test_exact_repeats_what_it_completed_before_in_fewer_passes(runtime: Runtime) -> None:
    session = runtime.new_session()
    first = session.complete(EXACT, lambda: None)
    passes = session.book.rounds
    second = session.complete(EXACT, lambda: None)
    assert second["token_texts"] == first["token_texts"]
    assert session.book.rounds - passes < passes
    assert second["energy_joules"] < first["energy_joules"]


@pytest.mark.parametrize("prefill_exit", [4, 3, 1])
def test_what_settled_in_fast_is_exact_again_where_that_is_asked(runtime: Runtime, prefill_exit: int) -> None:
    """Exits are at 2 and 4; below the prefill exit or above it."""
    runtime = replace_exits(runtime, prefill_exit)
    session, whole = runtime.new_session(), undrafted(runtime, EXACT)
    fast: CompletionParams = {**EXACT, "decoding": "fast", "policy": "confidence:0.9"}
    longer: CompletionParams = {**fast, "prefix": EXACT["prefix"] + "s = first"}
    for edits in ((fast, longer, fast), (longer,)):
        for asked in edits:
            session.complete(asked, lambda: None)
        assert session._cache.work.kv_only
        exact = session.complete({**EXACT, "policy": "full"}, lambda: None)
        assert (exact["text"], exact["token_texts"]) == (whole["text"], whole["token_texts"])


def test_going_back_to_exact_costs_the_layers_that_fast_left_out(runtime: Runtime) -> None:
    """As a check does on what `fast` wrote: the prompt is not read anew, and full depth would have had it in its cache."""
    session = replace_exits(runtime, prefill_exit=4).new_session()
    fast: CompletionParams = {**EXACT, "decoding": "fast", "policy": "confidence:0.9"}
    written = session.complete(fast, lambda: None)
    checked = session.complete({**fast, "decoding": "exact", "policy": "full"}, lambda: None)
    propagated = written["prompt_tokens"] - 1 - EXACT_TAIL
    assert checked["prompt_reused"] == propagated
    rising = written["prompt_tokens"] - propagated
    assert checked["prompt_layers_run"] == propagated * 2 + rising * 6 - (propagated + rising - 1)
    again = runtime.new_session()
    again.complete({**EXACT, "policy": "full"}, lambda: None)
    repeated = again.complete({**EXACT, "policy": "full"}, lambda: None)
    assert checked["energy_full_joules"] == pytest.approx(repeated["energy_full_joules"], rel=0.2)


def test_confidence_that_no_token_has_is_full_depth(runtime: Runtime) -> None:
    runtime = replace_exits(runtime, prefill_exit=4)
    never: CompletionParams = {**EXACT, "decoding": "fast", "policy": "confidence:1"}
    result = runtime.new_session().complete(never, lambda: None)
    assert result["token_texts"] == undrafted(runtime, {**EXACT, "policy": "full"})["token_texts"]


def test_a_settled_prompt_costs_less_than_one_that_rises(runtime: Runtime) -> None:
    """And is at full depth where the cursor is: the last positions are as many as in a prompt that rises whole."""
    fast: CompletionParams = {**EXACT, "decoding": "fast", "policy": "confidence:0.9"}
    rising, propagated = (
        replace_exits(runtime, prefill_exit).new_session().complete(fast, lambda: None)
        for prefill_exit in (None, 4)
    )
    assert propagated["energy_joules"] < rising["energy_joules"]
    # Of the last layer, neither has more than keys and values of them.
    left_out = propagated["prompt_tokens"] - 1 - EXACT_TAIL
    assert propagated["prompt_layers_run"] == rising["prompt_layers_run"] - left_out


@pytest.mark.parametrize("policy", ["full", "fixed:2", "confidence:0.1", "confidence:0.9"])
@pytest.mark.parametrize("decoding", ["full", "fast", "exact"])
@pytest.mark.parametrize("prefill_exit", [4, 1])
def test_the_joules_are_those_of_the_work_that_was_done(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, policy: str, decoding: Decoding, prefill_exit: int
) -> None:
    """Counted at the decoder: every layer that ran, over how many positions, and every head."""
    work = {
        "runs": 0,
        "evaluations": 0,
        "few": 0,
        "heads": 0,
        "rows": 0,
        "kv_projections": 0,
        "propagated": 0,
    }
    run_layers, look, best = (
        runtime.decoder.run_layers,
        runtime.decoder.top_tokens,
        runtime.decoder.top_token_among,
    )
    project_kv = runtime.decoder.project_kv

    def counted_layers(first, last, states, start, stop, *rest):  # type: ignore[no-untyped-def]
        work["runs"] += last + 1 - first
        work["evaluations"] += (last + 1 - first) * (stop - start)
        work["few"] += (last + 1 - first) * min(4, stop - start)
        run_layers(first, last, states, start, stop, *rest)

    def counted_head(states, start, stop, depth):  # type: ignore[no-untyped-def]
        work["heads"] += 1
        work["rows"] += stop - start
        return look(states, start, stop, depth)

    def counted_best(*asked):  # type: ignore[no-untyped-def]
        work["heads"] += 1
        work["rows"] += 1
        return best(*asked)

    def counted_entries(first, last, states, start, stop, keys, values, propagated):  # type: ignore[no-untyped-def]
        work["kv_projections"] += (last + 1 - first) * (stop - start)
        work["propagated"] += (last + 1 - first) * (stop - start) * propagated
        project_kv(first, last, states, start, stop, keys, values, propagated)

    monkeypatch.setattr(runtime.decoder, "run_layers", counted_layers)
    monkeypatch.setattr(runtime.decoder, "project_kv", counted_entries)
    monkeypatch.setattr(runtime.decoder, "top_tokens", counted_head)
    monkeypatch.setattr(runtime.decoder, "top_token_among", counted_best)
    prices = runtime.costs.prices
    result = (
        replace_exits(runtime, prefill_exit)
        .new_session()
        .complete({**EXACT, "decoding": decoding, "policy": policy}, lambda: None)
    )
    past = policy.startswith("confidence") or (policy == "fixed:2" and prefill_exit < 2)
    propagates = decoding == "fast" and past
    assert (work["propagated"] > 0) == propagates
    assert result["energy_joules"] == pytest.approx(
        prices.layer_batch * work["runs"]
        + prices.small_batch_position * work["few"]
        + prices.layer_position * (work["evaluations"] - work["few"])
        + prices.head_batch * work["heads"]
        + prices.head_position * work["rows"]
        + prices.kv_only * work["kv_projections"]
    )
    passes = result["tokens"] + (result["reason"] == "end_of_text")
    prompt = result["prompt_tokens"]
    assert result["energy_full_joules"] == pytest.approx(
        passes * (6 * prices.layer_batch + prices.head_batch + prices.head_position)
        + prices.small_batch_position
        * (5 * 4 + 1 + 6 * (passes - 1))  # the last layer is run over one of the prompt
        + prices.layer_position * 5 * (prompt - 4)
        + prices.kv_only * (prompt - 1)
    )

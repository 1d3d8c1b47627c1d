"""A request's account: its joules are those of its work, and full depth saves nothing, however a completion ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sessions import EXACT, LAYERS, PARAMS, PRICES, changed, complete, tiny_runtime, with_exits

from green_code.decoding.exit_policies import agent_for
from green_code.decoding.price_book import MAX_LOSS
from green_code.decoding.propagation import EXACT_TAIL
from green_code.engine.loading import Runtime
from green_code.link.messages import CompletionParams, CompletionResult, Decoding
from green_code.work import Work
from tests.decoding.networks import exit_classifier

FAST = changed(EXACT, decoding="fast", policy="confidence:0.9")


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with tiny_runtime(tmp_path_factory.mktemp("tiny")) as runtime:
        yield runtime


@pytest.fixture(scope="module")
def torch_runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """With the torch decoder, which can be interrupted after each layer of a prompt."""
    with tiny_runtime(tmp_path_factory.mktemp("torch"), GREEN_CODE_KERNEL="off") as runtime:
        yield runtime


def test_full_depth_saves_nothing(runtime: Runtime) -> None:
    result = complete(runtime.new_session(), PARAMS)
    assert result["tokens"] == 6
    assert result["saving"] == pytest.approx(0)
    assert result["exits"] == [LAYERS] * 6


def test_full_depth_saves_nothing_when_it_stops(runtime: Runtime) -> None:
    """The pass that gives the refused token is one of full depth, too."""
    result = complete(runtime.new_session(), changed(PARAMS, stop=0.001))
    assert 0 < result["tokens"] < 6
    assert result["energy_joules"] > 0
    assert result["saving"] == pytest.approx(0)


def test_full_depth_saves_nothing_when_the_text_ends(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pass that gives the end of the text is one of full depth, too."""
    monkeypatch.setattr(runtime.vocabulary, "eos", range(len(runtime.vocabulary)))
    result = complete(runtime.new_session(), PARAMS)
    assert (result["reason"], result["tokens"]) == ("empty", 0)
    assert result["energy_joules"] > 0
    assert result["saving"] == pytest.approx(0)


def test_an_empty_prompt_runs_nothing(runtime: Runtime) -> None:
    used = runtime.new_session()
    complete(used, PARAMS)
    for session in (runtime.new_session(), used):
        result = complete(session, changed(PARAMS, prefix=" \n"))
        assert (result["reason"], result["text"], result["energy_joules"]) == ("no_context", "", 0)
        assert (result["layers_run"], result["prompt_layers_run"]) == (0, 0)


# --- interruptions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [0, 3, 6 + 3, 4 * 6 + 1])
def test_an_interrupted_completion_keeps_its_tokens_and_books_no_loss(
    runtime: Runtime, layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime.decoder, "layers_at_once", lambda rows: 1)
    result = complete(runtime.new_session(), PARAMS, interrupted_after=layers)
    assert result["reason"] == "superseded"
    assert result["text"] == ""
    assert result["tokens"] == layers // LAYERS
    assert result["energy_joules"] >= 0
    assert result["saving"] == pytest.approx(0)


@pytest.mark.parametrize("decoding", ["full", "fast", "exact"])
def test_after_an_interruption_at_once_full_depth_pays_for_the_whole_prompt(runtime: Runtime, decoding: str) -> None:
    params, session = changed(PARAMS, decoding=decoding), runtime.new_session()
    complete(session, params, interrupted_after=0)
    result, fresh = complete(session, params), complete(runtime.new_session(), params)
    assert (result["prompt_reused"], result["energy_full_joules"]) == (0, fresh["energy_full_joules"])
    assert result["saving"] == pytest.approx(fresh["saving"], abs=0.02)


@pytest.mark.parametrize("layers_run", range(1, 4))
def test_after_an_interruption_within_the_prompt_full_depth_pays_for_the_rest(
    torch_runtime: Runtime, layers_run: int
) -> None:
    prices = replace(PRICES, layer_batch=1.0, small_batch_position=0.1, layer_position=0.1)
    runtime = with_exits(torch_runtime, costs=replace(torch_runtime.costs, prices=prices))
    policies: tuple[tuple[Decoding, str], ...] = (("full", "full"), ("fast", "fixed:4"))
    (full, full_again), (fast, fast_again) = (
        _interrupt_and_type(runtime, changed(PARAMS, decoding=decoding, policy=policy), layers_run)
        for decoding, policy in policies
    )
    assert (full["reason"], full["tokens"], full["saving"]) == ("superseded", 0, 0)
    assert full_again["prompt_reused"] > 0 and full_again["saving"] == pytest.approx(0, abs=0.01)
    assert fast["saving"] == 0 and fast_again["saving"] > 0.2
    assert fast_again["energy_full_joules"] == full_again["energy_full_joules"]


def _interrupt_and_type(
    runtime: Runtime, params: CompletionParams, layers_run: int
) -> tuple[CompletionResult, CompletionResult]:
    """An interrupted completion, and the next one of the session after more text was typed."""
    session = runtime.new_session()
    interrupted = complete(session, params, interrupted_after=layers_run)
    return interrupted, complete(session, changed(params, prefix=params["prefix"] + " a"))


def test_interruptions_are_no_loss_of_drafts(runtime: Runtime) -> None:
    session = runtime.new_session()
    params = changed(EXACT, prefix=3 * EXACT["prefix"])
    for polls in (2, 5, 4):
        interrupted = complete(session, params, interrupted_after=polls)
        assert interrupted["energy_joules"] > 0
        assert session.book.spent <= (1 + MAX_LOSS) * session.book.full_depth
    complete(session, params)
    assert session.book.spent <= (1 + MAX_LOSS) * session.book.full_depth


# --- policies and propagated KV ---------------------------------------------------------------------------


def test_at_threshold_1_the_agent_costs_nothing(runtime: Runtime) -> None:
    classifier = exit_classifier(runtime.decoder.config.width, (2, 4))
    with_agent = with_exits(runtime, agent=agent_for(classifier, runtime.decoder))
    below_1, at_1, full = (
        complete(with_agent.new_session(), changed(PARAMS, decoding="fast", **changes))
        for changes in ({"threshold": 0.999}, {"threshold": 1.0}, {"policy": "full"})
    )
    assert at_1["text"] == full["text"]
    assert at_1["energy_joules"] == full["energy_joules"] < below_1["energy_joules"]


def test_the_rule_confidence_pays_for_no_agent(runtime: Runtime) -> None:
    prices = replace(PRICES, decision=1e6)
    costly = with_exits(runtime, costs=replace(runtime.costs, prices=prices))
    params = changed(PARAMS, decoding="fast", policy="confidence:0.5")
    assert complete(costly.new_session(), params)["energy_joules"] < 1e6


def test_exact_after_fast_costs_only_the_layers_that_fast_left_out(runtime: Runtime) -> None:
    """The prompt is not run again; full depth would have had it in its cache."""
    session = with_exits(runtime, prefill_exit=4).new_session()
    complete(session, FAST)
    exact = complete(session, changed(FAST, decoding="exact", policy="full"))
    repeating = runtime.new_session()
    complete(repeating, changed(EXACT, policy="full"))
    repeated = complete(repeating, changed(EXACT, policy="full"))
    assert exact["energy_full_joules"] == pytest.approx(repeated["energy_full_joules"], rel=0.2)


def test_a_propagated_prompt_costs_less_than_an_exact_one(runtime: Runtime) -> None:
    """Its last positions are at full depth, as many as in a prompt that is exact throughout."""
    exact, propagated = (complete(with_exits(runtime, prefill_exit).new_session(), FAST) for prefill_exit in (None, 4))
    assert propagated["energy_joules"] < exact["energy_joules"]
    # The last layer computes only keys and values of the prompt in both; they differ by layer 5.
    left_out = propagated["prompt_tokens"] - EXACT_TAIL
    assert propagated["prompt_layers_run"] == exact["prompt_layers_run"] - left_out


# --- joules, by work that is counted at the decoder -------------------------------------------------------


@pytest.mark.parametrize("policy", ["full", "fixed:2", "confidence:0.1", "confidence:0.9"])
@pytest.mark.parametrize("decoding", ["full", "fast", "exact"])
@pytest.mark.parametrize("prefill_exit", [4, 1])
def test_the_joules_are_those_of_the_work(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, policy: str, decoding: Decoding, prefill_exit: int
) -> None:
    work, propagated = _count_work(runtime, monkeypatch)
    session = with_exits(runtime, prefill_exit).new_session()
    result = complete(session, changed(EXACT, decoding=decoding, policy=policy))
    beyond_the_prefill_exit = policy.startswith("confidence") or (policy == "fixed:2" and prefill_exit < 2)
    assert bool(propagated) == (decoding == "fast" and beyond_the_prefill_exit)
    assert result["energy_joules"] == pytest.approx(
        PRICES.layer_batch * work.layer_batches
        + PRICES.small_batch_position * work.small_batch_positions
        + PRICES.layer_position * (work.layer_positions - work.small_batch_positions)
        + PRICES.head_batch * work.head_batches
        + PRICES.head_position * work.head_positions
        + PRICES.kv_only * work.kv_only
    )
    passes = result["tokens"] + (result["reason"] == "end_of_text")
    prompt = result["prompt_tokens"]
    small_batch_positions = 5 * 4 + 1 + 6 * (passes - 1)  # the last layer runs over one position of the prompt
    assert result["energy_full_joules"] == pytest.approx(
        passes * (6 * PRICES.layer_batch + PRICES.head_batch + PRICES.head_position)
        + PRICES.small_batch_position * small_batch_positions
        + PRICES.layer_position * 5 * (prompt - 4)
        + PRICES.kv_only * (prompt - 1)
    )


def _count_work(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> tuple[Work, list[int]]:
    """The work of the decoder's calls from now on, and the layers × positions of each call that propagates KV."""
    work, propagations, decoder = Work(), list[int](), runtime.decoder
    run_layers, project_kv = decoder.run_layers, decoder.project_kv
    top_tokens, top_token_among = decoder.top_tokens, decoder.top_token_among

    def counted_layers(first, last, buffers, start, stop):  # type: ignore[no-untyped-def]
        layers, positions = last + 1 - first, stop - start
        work.layer_batches += layers
        work.layer_positions += layers * positions
        work.small_batch_positions += layers * min(4, positions)
        run_layers(first, last, buffers, start, stop)

    def counted_kv(first, last, buffers, start, stop, propagated):  # type: ignore[no-untyped-def]
        count = (last + 1 - first) * (stop - start)
        work.kv_only += count
        if propagated:
            propagations.append(count)
        project_kv(first, last, buffers, start, stop, propagated)

    def counted_head(buffers, positions, depth, question=None):  # type: ignore[no-untyped-def]
        work.head_batches += 1
        work.head_positions += len(positions)
        return top_tokens(buffers, positions, depth, question)

    def counted_head_among(*arguments):  # type: ignore[no-untyped-def]
        work.head_batches += 1
        work.head_positions += 1
        return top_token_among(*arguments)

    monkeypatch.setattr(decoder, "run_layers", counted_layers)
    monkeypatch.setattr(decoder, "project_kv", counted_kv)
    monkeypatch.setattr(decoder, "top_tokens", counted_head)
    monkeypatch.setattr(decoder, "top_token_among", counted_head_among)
    return work, propagations

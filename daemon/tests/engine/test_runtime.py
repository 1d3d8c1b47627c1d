"""A session's accounts: at full depth nothing is saved, however a completion ends; and its cache between keystrokes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from green_code.engine.runtime import Runtime, load_runtime
from green_code.link.messages import CompletionParams
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
def test_an_interrupted_completion_keeps_its_tokens_and_books_no_loss(runtime: Runtime, layers: int) -> None:
    calls = itertools.count()
    result = runtime.new_session().complete(PARAMS, lambda: "superseded" if next(calls) >= layers else None)
    assert result["reason"] == "superseded"
    assert result["text"] == ""
    assert result["tokens"] == layers // 6
    assert result["energy_joules"] >= 0
    assert result["saving"] == pytest.approx(0)


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


def replace_exits(runtime: Runtime) -> Runtime:
    """The same model as if its bundle had exits, but no agent."""
    copy = object.__new__(Runtime)
    copy.__dict__.update(runtime.__dict__, exits=(2, 4))
    return copy


def test_rules_pay_for_no_agent(runtime: Runtime) -> None:
    with_decisions = replace(runtime.costs, decision_joules=1e6)
    copy = replace_exits(runtime)
    copy.costs = with_decisions
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
    result = runtime.new_session().complete({**PARAMS, "prefix": " \n"}, lambda: None)
    assert (result["reason"], result["text"], result["energy_joules"]) == ("no_context", "", 0)


def test_costs_are_measured_once_for_a_model_and_a_meter(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("GREEN_CODE_BUNDLES", str(tmp_path / "none"))
    first, second = load_runtime("tiny-random").costs, load_runtime("tiny-random").costs
    assert first == second
    monkeypatch.setenv("GREEN_CODE_WATTS_PER_CORE", "100")
    if first.source == "estimate":
        assert "100 W" in load_runtime("tiny-random").costs.meter

"""Figures of hand-made samples, and agreement with a reference."""

from __future__ import annotations

from typing import Any

import pytest

from green_code.engine.runtime import Runtime
from green_code_lab.benchmark.agreement import agreements
from green_code_lab.benchmark.summary import summarise


def sample(peer: str, round: int, step: str, seconds: float, count: int, prompt: int = 100) -> dict[str, Any]:
    return {
        "peer": peer, "round": round, "threads": 1, "step": step, "case": "case", "prompt_tokens": prompt,
        "tokens": [1] * count, "seconds": seconds, "cpu_seconds": 2 * seconds, "joules": 10 * seconds,
    }  # fmt: skip


def of(peer: str, factor: float) -> list[dict[str, Any]]:
    return [
        sample(peer, round, step, factor * (round + 1) * seconds, count)
        for round in range(3)
        for step, seconds, count in (
            ("prompt", 1.0, 1),
            ("cold", 2.0, 12),
            ("keystroke", 0.5, 12),
            ("decode", 4.0, 61),
        )
    ]


def test_a_token_is_what_follows_the_prompt_and_its_first_token() -> None:
    (row,) = summarise(of("ours", 1.0), "ours")
    assert row["token_seconds"]["values"] == pytest.approx([(4 - 1) / 60 * (round + 1) for round in range(3)])
    assert row["token_cpu_seconds"]["median"] == pytest.approx(2 * row["token_seconds"]["median"])
    assert row["prompt_token_seconds"]["median"] == pytest.approx(2 * 1.0 / 100)
    assert row["cold_joules"]["median"] == pytest.approx(2 * 20.0)


def test_a_ratio_is_taken_within_rounds() -> None:
    _, other = summarise([*of("ours", 1.0), *of("theirs", 1.5)], "ours")
    for figure in ("token_seconds", "cold_seconds", "keystroke_seconds"):
        assert other[figure]["ratio"] == pytest.approx({"median": 1.5, "low": 1.5, "high": 1.5})


def test_what_was_not_measured_is_left_out() -> None:
    samples = [{**s, "joules": None} for s in of("ours", 1.0)]
    (row,) = summarise(samples, "ours")
    assert "token_joules" not in row and "long_prompt_token_seconds" not in row


def test_without_the_baseline_there_is_no_ratio() -> None:
    (row,) = summarise(of("theirs", 1.0), "ours")
    assert row["cold_seconds"]["ratio"] is None


def test_agreement_ends_at_the_first_other_token(runtime: Runtime) -> None:
    vocabulary = runtime.vocabulary
    right = vocabulary.encode("return x")[:4]
    other = next(i for i in vocabulary.encode("0123") if i not in right)
    said = {
        "ids": right,
        "texts": [vocabulary.decode([i]) for i in right],
        "half": [*right[:2], other, right[3]],
        "outside": [-1, *right[1:]],
    }
    samples = [{"peer": peer, "step": "cold", "case": "a", "tokens": tokens} for peer, tokens in said.items()]
    samples.append({"peer": "ids", "step": "keystroke", "case": "a", "tokens": [other]})
    assert agreements(samples, {"a": right}, vocabulary) == {
        "ids": 1.0,
        "texts": 1.0,
        "half": 0.5,
        "outside": 0.0,
    }

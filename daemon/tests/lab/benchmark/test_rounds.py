"""Which engine is asked what, and when; what happens to one that fails; and the figures of the samples."""

from __future__ import annotations

from dataclasses import replace
from math import comb
from typing import Any

import numpy as np
import pytest

from green_code.engine.loading import Runtime
from green_code.problems import Problem
from green_code_lab.benchmark import rounds as module
from green_code_lab.benchmark.peers import Prompt, Spec
from green_code_lab.benchmark.prompts import Case
from green_code_lab.benchmark.rounds import Plan, Rounds, agreement, median, ratio, summarise

SHORT, GROWN, LONG = Prompt((1, 2), "a\n"), Prompt((1, 2, 3), "a\nb"), Prompt((1,) * 9, "b\na\n")
CASE = Case("case", SHORT, GROWN, LONG)
ROUND = [(SHORT, 1, True), (SHORT, 12, True), (GROWN, 12, False), (SHORT, 5, True), (LONG, 1, True)]
PLAN = Plan(rounds=2, seconds=60.0, threads=(1,), decode_tokens=5, long=True, starts=1)
asked: list[tuple[str, Any]] = []


class Scripted:
    """An engine whose name says after how many completions it fails."""

    def __init__(self, spec: Spec) -> None:
        self.name, self.left = spec.name, int(spec.name[1:] or 1000)

    def answer(self) -> dict[str, Any]:
        return {"version": "1"}

    def complete(self, *request: Any) -> dict[str, Any]:
        self.left -= 1
        if self.left < 0:
            raise Problem("internal_error", "it broke")
        asked.append((self.name, request))
        return {"tokens": [7] * request[1], "seconds": 1.0, "cpu_seconds": 1.0, "joules": None}

    def close(self) -> None:
        asked.append((self.name, "closed"))


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Worker", Scripted)
    monkeypatch.setattr(module, "_IDLE_SECONDS", 0.0)
    asked.clear()


def rounds_of(*names: str) -> Rounds:
    return Rounds([Spec(name, name, "") for name in names], print)


def test_all_do_one_request_before_any_does_the_next_and_every_other_round_is_reversed() -> None:
    rounds = rounds_of("A", "B")
    assert rounds.run([CASE], PLAN) == 2
    assert "".join(name for name, _ in asked) == "AB" * 5 + "AB" * 5 + "BA" * 5  # the first are not measured
    measured = " ".join(sample["step"] for sample in rounds.samples[::2])
    assert measured == "prompt cold keystroke decode long prompt cold keystroke decode long"
    assert [request[:-1] for name, request in asked if name == "A"] == ROUND * 3


def test_an_engine_that_fails_leaves_with_its_samples_and_the_others_go_on() -> None:
    rounds = rounds_of("A", "B11", "C")
    rounds.run([CASE], PLAN)
    assert rounds.missing == {"B11": "it broke"} and ("B11", "closed") in asked
    assert sorted(sample["engine"] for sample in rounds.samples) == ["A"] * 10 + ["C"] * 10


def test_the_plan_says_how_many_threads_and_how_long() -> None:
    rounds = rounds_of("A")
    assert rounds.run([CASE], replace(PLAN, threads=(1, 2), long=False, seconds=-1.0)) == 0
    assert [request[-1] for _, request in asked] == [1] * 4 + [2] * 4 and rounds.samples == []


def bootstrap_share(rank: int, count: int) -> float:
    """P(the median of an odd number of draws is at most the rank-th smallest value): more than half are among these."""
    p, ranks = rank / count, range((count + 1) // 2, count + 1)
    return sum(comb(count, k) * p**k * (1 - p) ** (count - k) for k in ranks)


@pytest.mark.parametrize("count", [9, 13, 31])  # where no share is so near to an end that 4,000 draws miss it
def test_the_interval_ends_at_the_values_that_the_binomial_distribution_gives(count: int) -> None:
    values = list(np.random.default_rng(count).permutation(np.arange(1.0, count + 1)))
    shares = [bootstrap_share(rank, count) for rank in range(1, count + 1)]
    low, high = (1 + sum(share < end for share in shares) for end in (0.025, 0.975))
    assert median(values) == ((count + 1) / 2, low, high)


def test_what_both_engines_share_of_a_round_drops_out_of_their_ratio() -> None:
    rounds = np.random.default_rng(1).lognormal(sigma=2.0, size=12)
    assert ratio(list(0.8 * rounds), list(rounds)) == pytest.approx((0.8, 0.8, 0.8))
    with pytest.raises(ValueError):
        ratio([1.0, 2.0], [1.0])


def samples_of(engine: str, factor: float, joules: float | None = 10.0) -> list[dict[str, Any]]:
    """Three rounds; the second takes twice and the third three times as long."""
    requests = (("prompt", 1.0, 1), ("cold", 2.0, 12), ("keystroke", 0.5, 12), ("decode", 4.0, 61))
    return [
        {
            "engine": engine, "round": round, "threads": 1, "step": step, "case": "case", "prompt_tokens": 100, "tokens": [1] * count,
            "seconds": (s := factor * (round + 1) * seconds), "cpu_seconds": 2 * s, "joules": joules and joules * s,
        }
        for round in range(3)
        for step, seconds, count in requests
    ]  # fmt: skip


def test_a_token_is_what_follows_the_prompt_and_its_first_token() -> None:
    figures = summarise(samples_of("ours", 1.0), "ours")["ours", 1]
    assert figures["token_ms"] == pytest.approx((100.0, 50.0, 150.0))  # 3 s for 60 tokens, twice and three times
    assert figures["token_cpu_ms"] == pytest.approx(200.0) and figures["token_mj"] == pytest.approx(1000.0)
    assert figures["prompt_token_ms"] == pytest.approx(20.0) and figures["cold_joules"] == pytest.approx(40.0)
    assert "long_prompt_token_ms" not in figures


def test_a_ratio_is_taken_within_rounds_and_needs_the_baseline() -> None:
    figures = summarise([*samples_of("ours", 1.0), *samples_of("theirs", 1.5)], "ours")["theirs", 1]
    for name in ("token_ms", "cold_ms", "keystroke_ms"):
        assert figures[f"{name}_ratio"] == pytest.approx((1.5, 1.5, 1.5))
    alone = summarise(samples_of("theirs", 1.5, None), "ours")["theirs", 1]
    assert "cold_ms_ratio" not in alone and "cold_joules" not in alone


def test_agreement_ends_at_the_first_other_token(runtime: Runtime) -> None:
    vocabulary = runtime.vocabulary
    right = vocabulary.encode("return x")[:4]
    other = next(i for i in vocabulary.encode("0123") if i not in right)
    tokens = (right, [vocabulary.decode([i]) for i in right], [*right[:2], other, right[3]], [-1, *right[1:]])
    samples = [{"engine": str(i), "step": "cold", "case": "a", "tokens": own} for i, own in enumerate(tokens)]
    samples.append({"engine": "0", "step": "keystroke", "case": "a", "tokens": [other]})
    assert agreement(samples, {"a": right}, vocabulary) == {"0": 1.0, "1": 1.0, "2": 0.5, "3": 0.0}

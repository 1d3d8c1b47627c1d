"""Rounds of requests, and the figures of their samples.

In each round, every engine does the same requests at the same place of a file. All engines do one request before any does
the next; every other round goes through them backwards (A B C, C B A, …), so that a drift of the machine favours none.

Figures are medians, because a machine is now and then slow for one request. A ratio is the median of the ratios within the
rounds, which share a prompt and a minute. Intervals are by bootstrap over rounds (Efron and Tibshirani 1993, ch. 13).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import methodcaller
from statistics import fmean
from typing import Any, TypeVar

import numpy as np

from green_code.models.vocabulary import Vocabulary
from green_code.problems import Problem
from green_code.sequences import common
from green_code_lab.benchmark.peers import Prompt, Spec
from green_code_lab.benchmark.process import Answer, Worker
from green_code_lab.benchmark.prompts import Case

COMPLETION_TOKENS = 12  # a line
TIMES = ("token_ms", "cold_ms", "keystroke_ms")  # with an interval and a ratio; the others are medians
_IDLE_SECONDS = 0.05  # before each request: threads of the engine before wait in a loop until they sleep

Item = TypeVar("Item")
Estimate = tuple[float, float, float]  # a median, and the ends of its 95 % percentile interval
Sample = Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """How much is measured. No pair of rounds begins after `seconds`.

    `decode_tokens` measure the speed of a token: few enough that a small model does not yet repeat itself, which would
    flatter drafts. `long`: whether the long prompt is run. `starts`: how often front and engine are started.
    """

    rounds: int
    seconds: float
    threads: Sequence[int]
    decode_tokens: int
    long: bool
    starts: int


FULL = Plan(rounds=16, seconds=11 * 60, threads=(1, 2), decode_tokens=24, long=True, starts=5)
QUICK = Plan(rounds=2, seconds=40, threads=(1,), decode_tokens=16, long=False, starts=1)


def steps(case: Case, plan: Plan) -> list[tuple[str, Prompt, int, bool]]:
    """The requests of a round: name, prompt, number of tokens, and whether the KV cache is empty.

    `keystroke` continues from the cache that `cold` leaves.
    """
    found = [
        ("prompt", case.short, 1, True),
        ("cold", case.short, COMPLETION_TOKENS, True),
        ("keystroke", case.grown, COMPLETION_TOKENS, False),
        ("decode", case.short, plan.decode_tokens, True),
    ]
    return [*found, ("long", case.long, 1, True)] if plan.long else found


def order(items: Sequence[Item], round: int) -> list[Item]:
    """The items in the order of a round, counted from 0."""
    return list(items) if round % 2 == 0 else list(reversed(items))


class Rounds:
    """Starts the engines, runs a plan and keeps its samples. `missing`: by name, why an engine does not take part, or left."""

    def __init__(self, specs: Sequence[Spec], report: Callable[[str], None]) -> None:
        self.samples: list[Sample] = []
        self.missing = {spec.name: spec.missing for spec in specs if spec.missing}
        self._report = report
        self._workers = {spec.name: Worker(spec) for spec in specs if not spec.missing}
        self.versions = {name: found["version"] for name, found in self.ask_all(Worker.answer).items()}

    def ask_all(self, ask: Callable[[Worker], Answer], round: int = 0) -> dict[str, Answer]:
        """The answers by name, of one engine after the other. One that fails leaves, and its samples with it."""
        answers = {}
        for name in order(list(self._workers), round):
            time.sleep(_IDLE_SECONDS)
            try:
                answers[name] = ask(self._workers[name])
            except Problem as problem:
                self._workers.pop(name).close()
                self.samples = [sample for sample in self.samples if sample["engine"] != name]
                self.missing[name] = str(problem)
                self._report(f"{name} leaves: {problem}")
        return answers

    def run(self, cases: Sequence[Case], plan: Plan) -> int:
        """Warm up with one round, then run the plan; returns the number of rounds, which is even."""
        self._round(0, cases[0], plan)
        self.samples.clear()
        end = time.monotonic() + plan.seconds
        for round, case in zip(range(plan.rounds), itertools.cycle(cases), strict=False):
            if round % 2 == 0 and time.monotonic() > end:
                self._report(f"time is up after {round} of {plan.rounds} rounds")
                return round
            self._round(round, case, plan)
            self._report(f"round {round + 1} of {plan.rounds}")
        return plan.rounds

    def close(self) -> None:
        for worker in self._workers.values():
            worker.close()

    def _round(self, round: int, case: Case, plan: Plan) -> None:
        for threads, (step, prompt, count, cold) in itertools.product(plan.threads, steps(case, plan)):
            about = {
                "round": round,
                "threads": threads,
                "step": step,
                "case": case.id,
                "prompt_tokens": len(prompt.ids),
            }
            ask = methodcaller("complete", prompt, count, cold, threads)
            for name, answer in self.ask_all(ask, round).items():
                self.samples.append({"engine": name, **about, **answer})


def median(values: Sequence[float], seed: int = 0) -> Estimate:
    """The median over rounds; its interval draws rounds with replacement."""
    array = np.asarray(values, np.float64)
    draws = np.random.default_rng(seed).integers(len(array), size=(4000, len(array)))
    low, high = np.percentile(np.median(array[draws], axis=1), (2.5, 97.5))
    return float(np.median(array)), float(low), float(high)


def ratio(values: Sequence[float], to: Sequence[float]) -> Estimate:
    """The median of `values` / `to`, round by round; rounds are drawn as pairs. Raises ValueError for unequal lengths."""
    return median([a / b for a, b in zip(values, to, strict=True)])


def summarise(samples: Iterable[Sample], baseline: str) -> dict[tuple[str, int], dict[str, Any]]:
    """Figures by engine and number of threads, without what was not measured; ratios are to the baseline's."""
    groups: dict[tuple[str, int], dict[int, dict[str, Sample]]] = {}
    for sample in samples:
        rounds = groups.setdefault((sample["engine"], sample["threads"]), {})
        rounds.setdefault(sample["round"], {})[sample["step"]] = sample
    measured = {group: [_figures(steps) for steps in rounds.values()] for group, rounds in groups.items()}
    found = {}
    for (engine, threads), own in measured.items():
        base, figures = measured.get((baseline, threads)), dict[str, Any]()
        for name in own[0]:
            values = [each[name] for each in own]
            figures[name] = median(values)
            if name not in TIMES:
                figures[name] = figures[name][0]
            elif base is not None:
                figures[f"{name}_ratio"] = ratio(values, [each[name] for each in base])
        found[engine, threads] = figures
    return found


def _figures(steps: Mapping[str, Sample]) -> dict[str, float]:
    """Of one round. `token` is a token after the prompt and its first token."""
    prompt, cold, keystroke, decode = (steps[name] for name in ("prompt", "cold", "keystroke", "decode"))
    tokens = len(decode["tokens"]) - len(prompt["tokens"])
    found = {
        "token_ms": (decode["seconds"] - prompt["seconds"]) / tokens * 1e3,
        "token_cpu_ms": (decode["cpu_seconds"] - prompt["cpu_seconds"]) / tokens * 1e3,
        "prompt_token_ms": prompt["seconds"] / prompt["prompt_tokens"] * 1e3,
        "cold_ms": cold["seconds"] * 1e3,
        "keystroke_ms": keystroke["seconds"] * 1e3,
    }
    if (long := steps.get("long")) is not None:
        found["long_prompt_token_ms"] = long["seconds"] / long["prompt_tokens"] * 1e3
    if all(step["joules"] is not None for step in (prompt, cold, keystroke, decode)):
        found["token_mj"] = (decode["joules"] - prompt["joules"]) / tokens * 1e3
        found |= {"cold_joules": cold["joules"], "keystroke_joules": keystroke["joules"]}
    return found


def agreement(
    samples: Iterable[Sample], references: Mapping[str, Sequence[int]], vocabulary: Vocabulary
) -> dict[str, float]:
    """By engine: the share of a cold completion's tokens before the first that differs from the reference, the mean."""
    shares: dict[str, list[float]] = {}
    for sample in samples:
        if sample["step"] == "cold" and sample["case"] in references:
            right = _texts(references[sample["case"]], vocabulary)
            share = common(_texts(sample["tokens"], vocabulary), right) / len(right)
            shares.setdefault(sample["engine"], []).append(share)
    return {engine: fmean(own) for engine, own in shares.items()}


def _texts(tokens: Iterable[int | str], vocabulary: Vocabulary) -> list[str]:
    return [t if isinstance(t, str) else vocabulary.decode([t]) if t >= 0 else "\0" for t in tokens]

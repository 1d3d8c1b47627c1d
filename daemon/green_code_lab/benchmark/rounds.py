"""Engines take turns: in each round every one of them does the same things with the same place in a file.

Rounds go through the engines forwards and backwards by turns (A B C, C B A, …), so that a machine that slowly gets
faster or slower favours none; and within a round all do one thing before any does the next, seconds apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from green_code.problems import Problem
from green_code_lab.benchmark.peer import Missing, Prompt
from green_code_lab.benchmark.process import Worker
from green_code_lab.benchmark.prompts import Case

COMPLETION_TOKENS = 12  # a line
Turn = TypeVar("Turn")


@dataclass(frozen=True)
class Plan:
    """How much is measured. No round is begun after `seconds`, but for the second one of a pair.

    `decode_tokens`: that are decoded in a row for the speed of a token, not so many that a small model begins to
    repeat itself, which would flatter drafts. `long`: whether the long prompt is run.
    """

    rounds: int
    seconds: float
    threads: Sequence[int]
    decode_tokens: int
    long: bool


FULL = Plan(rounds=16, seconds=11 * 60, threads=(1, 2), decode_tokens=24, long=True)
QUICK = Plan(rounds=2, seconds=40, threads=(1,), decode_tokens=16, long=False)

SETTLE_SECONDS = 0.05
"""Before each step: threads of the engine before wait for work in a loop for a while, each on a core, until they sleep."""


@dataclass(frozen=True)
class Step:
    """One request of a round. `cold`: nothing is cached."""

    name: str
    prompt: Prompt
    tokens: int
    cold: bool


def steps(case: Case, plan: Plan) -> list[Step]:
    """In their order: `keystroke` goes on from what `cold` has left in the cache."""
    found = [
        Step("prompt", case.short, 1, True),
        Step("cold", case.short, COMPLETION_TOKENS, True),
        Step("keystroke", case.grown, COMPLETION_TOKENS, False),
        Step("decode", case.short, plan.decode_tokens, True),
    ]
    return [*found, Step("long", case.long, 1, True)] if plan.long else found


def order(what: Sequence[Turn], round: int) -> list[Turn]:
    """Who, or what, comes when in a round, counted from 0."""
    return list(what) if round % 2 == 0 else list(reversed(what))


class Rounds:
    """Runs a plan, and keeps what it measures; an engine that fails in it is out, and in `missing`."""

    def __init__(self, workers: Mapping[str, Worker], report: Callable[[str], None]) -> None:
        self.workers = dict(workers)
        self.samples: list[dict[str, Any]] = []
        self.missing: list[Missing] = []
        self._report = report

    def warm_up(self, case: Case, plan: Plan) -> None:
        """What is loaded or allocated at first use, is now: each step once, with each number of threads."""
        for threads in plan.threads:
            for step in steps(case, plan):
                for name in list(self.workers):
                    self._measure(name, step, threads)

    def run(self, cases: Iterator[Case], plan: Plan) -> int:
        """Returns the number of rounds that were run, which is even."""
        end = time.monotonic() + plan.seconds
        for round in range(plan.rounds):
            if round % 2 == 0 and time.monotonic() > end:
                self._report(f"stopped after {round} of {plan.rounds} rounds, for the time is up")
                return round
            self._round(round, next(cases), plan)
            self._report(f"round {round + 1} of {plan.rounds}")
        return plan.rounds

    def _round(self, round: int, case: Case, plan: Plan) -> None:
        for threads in plan.threads:
            for step in steps(case, plan):
                for name in order(list(self.workers), round):
                    time.sleep(SETTLE_SECONDS)
                    if found := self._measure(name, step, threads):
                        about = {"peer": name, "round": round, "threads": threads, "step": step.name}
                        prompt = {"case": case.id, "prompt_tokens": len(step.prompt.ids)}
                        self.samples.append({**about, **prompt, **found})

    def _measure(self, name: str, step: Step, threads: int) -> dict[str, Any] | None:
        try:
            return self.workers[name].complete(step.prompt, step.tokens, threads, step.cold)
        except Problem as problem:
            self.drop(name, str(problem))
            return None

    def drop(self, name: str, why: str) -> None:
        """Go on without an engine; what it has measured counts no more."""
        worker = self.workers.pop(name)
        worker.close()
        self.samples = [sample for sample in self.samples if sample["peer"] != name]
        self.missing.append(Missing(name, worker.spec.label, why))
        self._report(f"{worker.spec.label} is out: {why}")

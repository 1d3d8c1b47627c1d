"""Who is asked what, and when; and what happens to one that fails."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from green_code.problems import Problem
from green_code_lab.benchmark.peer import Prompt, Spec
from green_code_lab.benchmark.prompts import Case
from green_code_lab.benchmark.rounds import COMPLETION_TOKENS, Plan, Rounds, order, steps

SHORT, GROWN, LONG = Prompt((1, 2), "a\n"), Prompt((1, 2, 3), "a\nb"), Prompt((1,) * 9, "b\na\n")
CASE = Case("case", SHORT, GROWN, LONG)
PLAN = Plan(rounds=2, seconds=60, threads=(1,), decode_tokens=5, long=True)


class Scripted:
    """Answers at once, notes who was asked, and fails from its n-th answer on."""

    def __init__(
        self, name: str, asked: list[tuple[str, Prompt, int, int, bool]], fails_at: int | None = None
    ) -> None:
        self.spec, self.closed = Spec(name, f"engine {name}", ""), False
        self._asked, self._fails_at, self._count = asked, fails_at, itertools.count()

    def complete(self, prompt: Prompt, count: int, threads: int, cold: bool) -> dict[str, Any]:
        if next(self._count) == self._fails_at:
            raise Problem("internal_error", "it broke")
        self._asked.append((self.spec.name, prompt, count, threads, cold))
        return {"tokens": [7] * count, "seconds": 1.0, "cpu_seconds": 1.0, "joules": None}

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def asked() -> list[tuple[str, Prompt, int, int, bool]]:
    return []


def make(asked: list[Any], **fails_at: int | None) -> tuple[Rounds, SimpleNamespace]:
    workers: Any = {name: Scripted(name, asked, at) for name, at in fails_at.items()}
    return Rounds(workers, lambda _: None), SimpleNamespace(**workers)


def test_the_order_is_reversed_from_round_to_round() -> None:
    assert [order("AB", round) for round in range(4)] == [["A", "B"], ["B", "A"], ["A", "B"], ["B", "A"]]


def test_all_do_one_thing_before_any_does_the_next(asked: list[Any]) -> None:
    rounds, _ = make(asked, A=None, B=None)
    assert rounds.run(itertools.repeat(CASE), PLAN) == 2
    names = "".join(name for name, *_ in asked)
    assert names == "AB" * 5 + "BA" * 5
    assert [sample["step"] for sample in rounds.samples[::2]] == [step.name for step in steps(CASE, PLAN)] * 2


def test_a_keystroke_follows_the_cold_completion_of_what_was_there_before(asked: list[Any]) -> None:
    rounds, _ = make(asked, A=None)
    rounds.run(itertools.repeat(CASE), PLAN)
    assert [entry[1:] for entry in asked[:5]] == [
        (SHORT, 1, 1, True),
        (SHORT, COMPLETION_TOKENS, 1, True),
        (GROWN, COMPLETION_TOKENS, 1, False),
        (SHORT, 5, 1, True),
        (LONG, 1, 1, True),
    ]


def test_each_number_of_threads_is_asked_for(asked: list[Any]) -> None:
    rounds, _ = make(asked, A=None)
    rounds.run(itertools.repeat(CASE), Plan(2, 60, (1, 2), 5, long=False))
    assert [entry[3] for entry in asked] == ([1] * 4 + [2] * 4) * 2


def test_an_engine_that_fails_is_out_with_its_samples_and_the_rest_goes_on(asked: list[Any]) -> None:
    rounds, workers = make(asked, A=None, B=6, C=None)
    rounds.run(itertools.repeat(CASE), PLAN)
    assert [(missing.label, missing.why) for missing in rounds.missing] == [("engine B", "it broke")]
    assert workers.B.closed and not workers.A.closed
    assert {sample["peer"] for sample in rounds.samples} == {"A", "C"}
    assert len(rounds.samples) == 2 * 2 * 5


def test_no_pair_of_rounds_is_begun_when_the_time_is_up(asked: list[Any]) -> None:
    rounds, _ = make(asked, A=None)
    assert rounds.run(itertools.repeat(CASE), Plan(4, -1.0, (1,), 5, long=False)) == 0
    assert asked == []


def test_warming_up_is_not_measured(asked: list[Any]) -> None:
    rounds, _ = make(asked, A=None, B=None)
    rounds.warm_up(CASE, PLAN)
    assert len(asked) == 2 * 5 and rounds.samples == []

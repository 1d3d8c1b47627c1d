"""The next suggestion is asked for only when it will be wanted, once, and ends when the text goes on otherwise."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from green_code.lsp import ahead
from green_code.lsp.ahead import Ahead
from green_code.problems import Problem

PARAMS: Any = {"prefix": "x = ", "suffix": "\n", "stop": "balanced", "place": [1.0]}
CUT: Any = {"id": "a", "text": "first", "reason": "unsure", "confidence": 0.9}
NEXT: Any = {"id": "b", "text": "()", "reason": "end_of_line", "confidence": 0.9}
AFTER: Any = {**PARAMS, "prefix": "x = first", "place": [2.0]}


@pytest.fixture(autouse=True)
def read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "READ_SECONDS", 0.0)


class Engine:
    """Answers when it may; counts what it was asked and what was cancelled."""

    def __init__(self, answer: Any = NEXT) -> None:
        self.answer = answer
        self.may_answer = asyncio.Event()
        self.asked: list[Any] = []
        self.kept: list[Any] = []
        self.cancelled = 0
        self.on_battery = False
        self.visible = True
        self.ahead = Ahead(self._complete, lambda: self.on_battery)

    async def _complete(self, params: Any) -> Any:
        self.asked.append(params)
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def show(self, result: Any = CUT, params: Any = PARAMS) -> None:
        self.ahead.shown(params, result, lambda: [3.0], lambda: self.visible, lambda *kept: self.kept.append(kept))


async def a_moment() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_the_continuation_of_a_sure_suggestion_is_kept() -> None:
    engine = Engine()
    engine.may_answer.set()
    engine.show()
    await a_moment()
    assert [(params["prefix"], params["place"]) for params in engine.asked] == [("x = first", [3.0])]
    [(params, result)] = engine.kept
    assert params["prefix"] == "x = first" and result == NEXT


@pytest.mark.asyncio
@pytest.mark.parametrize("change", [{"reason": "end_of_line"}, {"confidence": 0.79}])
async def test_one_that_ended_by_itself_or_is_unsure_has_none(change: dict[str, Any]) -> None:
    engine = Engine()
    engine.show({**CUT, **change})
    await a_moment()
    assert engine.asked == []


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["on_battery", "visible"])
async def test_none_on_battery_and_none_for_what_is_gone(name: str) -> None:
    engine = Engine()
    setattr(engine, name, name == "on_battery")
    engine.show()
    await a_moment()
    assert engine.asked == [] and await engine.ahead.answer(AFTER) is None


@pytest.mark.asyncio
async def test_who_accepts_while_it_is_computed_waits_for_it_and_asks_no_second_time() -> None:
    engine = Engine()
    engine.show()
    await a_moment()
    first = asyncio.ensure_future(engine.ahead.answer(AFTER))
    await a_moment()
    first.cancel()  # the editor asks again, as it does
    second = asyncio.ensure_future(engine.ahead.answer(AFTER))
    await a_moment()
    engine.may_answer.set()
    assert await second == NEXT and len(engine.asked) == 1 and engine.cancelled == 0
    assert await engine.ahead.answer({**AFTER, "stop": 0.0}) is None, "by hand, at full length"


@pytest.mark.asyncio
async def test_who_accepts_before_it_was_asked_for_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "READ_SECONDS", 1000.0)
    engine = Engine()
    engine.show()
    await a_moment()
    assert await asyncio.wait_for(engine.ahead.answer(AFTER), 5.0) is None
    engine.ahead.cancel()


@pytest.mark.asyncio
async def test_a_key_that_does_not_agree_cancels_it() -> None:
    engine = Engine()
    engine.show()
    await a_moment()
    waiting = asyncio.ensure_future(engine.ahead.answer(AFTER))
    await a_moment()
    engine.ahead.cancel()
    assert await waiting is None and engine.cancelled == 1 and await engine.ahead.answer(AFTER) is None


@pytest.mark.asyncio
async def test_typing_along_goes_on_with_the_same_and_there_is_one_at_a_time() -> None:
    engine = Engine()
    engine.show()
    await a_moment()
    engine.show({**CUT, "text": "st"}, {**PARAMS, "prefix": "x = fir"})
    await a_moment()
    assert len(engine.asked) == 1 and engine.cancelled == 0
    engine.show({**CUT, "text": "other"})
    await a_moment()
    assert len(engine.asked) == 2 and engine.cancelled == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("answer", [{**NEXT, "text": "", "reason": "unlikely"}, Problem("superseded", "")])
async def test_nothing_to_add_is_known_and_a_failure_is_asked_again(answer: Any) -> None:
    engine = Engine(answer)
    engine.may_answer.set()
    engine.show()
    await a_moment()
    assert engine.kept == []
    assert await engine.ahead.answer(AFTER) == (None if isinstance(answer, Problem) else answer)

"""The wait before a request: for fast typing alone, never long, and never after a pause."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from green_code.lsp.debounce import LONGEST_SECONDS, OVERDUE, PAUSE_SECONDS, REMEMBERED, Rhythm


def typed(*intervals: float) -> tuple[Rhythm, float]:
    rhythm, now = Rhythm(), 100.0
    rhythm.key(now)
    for interval in intervals:
        now += interval
        rhythm.key(now)
    return rhythm, now


def test_fast_typing_waits_until_the_next_key_is_overdue() -> None:
    rhythm, now = typed(*[0.1] * 8)
    assert rhythm.wait_seconds(now + 0.05) == pytest.approx(OVERDUE * 0.1 - 0.05)
    assert rhythm.wait_seconds(now + 0.3) == 0


def test_slow_typing_and_a_fresh_start_are_answered_at_once() -> None:
    rhythm, now = typed(*[0.25] * 8)
    assert rhythm.wait_seconds(now) == 0
    assert Rhythm().wait_seconds(0.0) == 0
    rhythm, now = typed(*[0.1] * 8, PAUSE_SECONDS + 0.1)
    assert rhythm.wait_seconds(now) == 0, "what was before the pause is another rhythm"


def test_one_hesitation_changes_nothing() -> None:
    rhythm, now = typed(*[0.1] * 5, 0.6)
    assert rhythm.wait_seconds(now) > 0


@given(st.lists(st.floats(-5, 5), max_size=3 * REMEMBERED), st.floats(-5, 5))
def test_no_clock_makes_anyone_wait_long(steps: list[float], later: float) -> None:
    rhythm, now = Rhythm(), 0.0
    for now in itertools.accumulate(steps):
        rhythm.key(now)
    assert rhythm.wait_seconds(now + max(0.0, later)) <= LONGEST_SECONDS

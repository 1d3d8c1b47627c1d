"""The wait before a request: for fast typing alone, never long, and never after a pause."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from green_code.lsp.debounce import LONGEST_SECONDS, OVERDUE, PAUSE_SECONDS, REMEMBERED, Debounce


def typed(*intervals: float) -> tuple[Debounce, float]:
    debounce, now = Debounce(), 100.0
    debounce.key(now)
    for interval in intervals:
        now += interval
        debounce.key(now)
    return debounce, now


def test_fast_typing_waits_until_the_next_key_is_overdue() -> None:
    debounce, now = typed(*[0.1] * 8)
    assert debounce.wait_seconds(now + 0.05) == pytest.approx(OVERDUE * 0.1 - 0.05)
    assert debounce.wait_seconds(now + 0.3) == 0


def test_slow_typing_and_a_fresh_start_are_answered_at_once() -> None:
    debounce, now = typed(*[0.25] * 8)
    assert debounce.wait_seconds(now) == 0
    assert Debounce().wait_seconds(0.0) == 0
    debounce, now = typed(*[0.1] * 8, PAUSE_SECONDS + 0.1)
    assert debounce.wait_seconds(now) == 0, "keys before the pause do not count"


def test_one_hesitation_changes_nothing() -> None:
    debounce, now = typed(*[0.1] * 5, 0.6)
    assert debounce.wait_seconds(now) > 0


def test_the_interval_between_two_keys_ignores_what_one_key_does_twice() -> None:
    assert Debounce().interval == float("inf")
    debounce, _ = typed(0.1, 3.0, 0.001)
    assert debounce.interval == pytest.approx(3.0)
    debounce, _ = typed(0.3, -5.0)
    assert debounce.interval == pytest.approx(0.3), "the clock went back"


def test_an_unsure_suggestion_waits_for_a_pause_in_fast_typing() -> None:
    debounce, now = typed(*[0.15] * 8)
    assert debounce.held_seconds(now + 0.05, confidence=0.4) == pytest.approx(LONGEST_SECONDS - 0.05)
    assert debounce.held_seconds(now + 0.3, confidence=0.4) == 0
    assert debounce.held_seconds(now + 0.05, confidence=0.9) == 0, "the next key mostly agrees with it"
    debounce, now = typed(*[0.25] * 8)
    assert debounce.held_seconds(now + 0.05, confidence=0.4) == 0, "there is time to read it before the next key"
    debounce, now = typed(*[0.15] * 8, PAUSE_SECONDS + 0.1)
    assert debounce.held_seconds(now + 0.05, confidence=0.4) > 0, "the next burst is as fast"


@given(st.lists(st.floats(-5, 5), max_size=3 * REMEMBERED), st.floats(-5, 5))
def test_no_clock_makes_anyone_wait_long(steps: list[float], later: float) -> None:
    debounce, now = Debounce(), 0.0
    for now in itertools.accumulate(steps):
        debounce.key(now)
    longest = LONGEST_SECONDS + 1e-9  # sums of floats round
    assert debounce.wait_seconds(now + max(0.0, later)) <= longest
    assert debounce.held_seconds(now + max(0.0, later), 0.4) <= longest

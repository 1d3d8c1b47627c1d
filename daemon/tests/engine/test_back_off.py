"""The waits after failures."""

from __future__ import annotations

from green_code.engine.back_off import FIRST_BACK_OFF_SECONDS, LAST_BACK_OFF_SECONDS, BackOff
from green_code.engine.interfaces import EndpointProblem
from green_code.problems import Problem

FAILURE = Problem("unavailable", "It failed.")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def wait_of(back_off: BackOff, clock: Clock, problem: Problem = FAILURE) -> float:
    """Seconds for which a failure is left alone, to a quarter."""
    back_off.failed(problem)
    start = clock.now
    while back_off.waits:
        clock.now += 0.25
    return clock.now - start


def test_waits_double_up_to_the_longest_while_it_goes_on_failing() -> None:
    clock = Clock()
    back_off = BackOff(clock)
    waits = [wait_of(back_off, clock) for _ in range(8)]
    assert waits[:3] == [FIRST_BACK_OFF_SECONDS, 2 * FIRST_BACK_OFF_SECONDS, 4 * FIRST_BACK_OFF_SECONDS]
    assert waits[-1] == LAST_BACK_OFF_SECONDS == max(waits)


def test_what_can_be_used_again_and_fails_in_use_waits_longer_until_it_has_worked() -> None:
    clock = Clock()
    back_off = BackOff(clock)
    wait_of(back_off, clock)
    back_off.recovered()
    assert back_off.problem is None and not back_off.waits
    assert wait_of(back_off, clock) == 2 * FIRST_BACK_OFF_SECONDS
    back_off.recovered()
    back_off.worked()
    assert wait_of(back_off, clock) == FIRST_BACK_OFF_SECONDS


def test_a_retry_by_hand_is_possible_at_once() -> None:
    clock = Clock()
    back_off = BackOff(clock)
    back_off.failed(FAILURE)
    assert back_off.waits
    back_off.retry()
    assert not back_off.waits


def test_a_server_may_ask_for_a_longer_wait() -> None:
    clock = Clock()
    assert wait_of(BackOff(clock), clock, EndpointProblem("It is busy.", wait_seconds=30)) == 30

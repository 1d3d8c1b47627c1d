"""The simulated typist: what is accepted, rejected and counted, and what the gate is told of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from green_code.lsp.gate_features import NAMES, History, Place
from green_code_lab.replay.typist import Typed, Typist, always, type_span
from tests.lab.replay.by_hand import SPAN, STEADY, Scripted

KEYS = len("total = first")


def type_it(suggester: Scripted, typist: Typist = STEADY, histories: list[History] | None = None) -> Typed:
    def gate(place: Place) -> tuple[bool, list[float]]:
        if histories is not None:
            histories.append(place.history)
        return always(place)

    return type_span(SPAN, suggester, gate, typist)


def test_a_right_suggestion_that_is_seen_is_accepted_and_counts_its_keys() -> None:
    suggester = Scripted({2: "tal = fi"})
    done = type_it(suggester)
    assert list(suggester.limits) == [0, 1, 2, 10, 11, 12]
    assert (done.accepted, done.shown, done.right, done.rejected) == (8, 1, 1, 0)
    typed = len(suggester.limits) - 1  # one of these keys was the accepting one
    assert typed + done.accepted == done.keys == KEYS
    assert (done.joules, done.by_fate["taken"], done.by_fate["wrong"], done.tokens) == (12.0, 2.0, 0.0, 18)
    assert (done.outcomes, done.opening) == ([(2, 8, False)], 7.0)


def test_what_goes_on_over_the_spans_end_counts_only_the_keys_of_the_span() -> None:
    done = type_it(Scripted({0: "total = first\nprint(total)\n"}))
    assert (done.accepted, done.requests, done.right) == (KEYS, 1, 1)


def test_a_wrong_suggestion_that_is_seen_is_one_rejection_and_typing_along_it_asks_nobody() -> None:
    suggester = Scripted({0: "total = second"})
    done = type_it(suggester)
    assert list(suggester.limits) == [0, 9, 10, 11, 12] and done.along == len("total = ")
    assert (done.rejected, done.accepted, done.right, done.by_fate["wrong"]) == (1, 0, 0, 2.0)
    assert done.outcomes == [(0, 0, True)]


def test_some_people_accept_the_first_words() -> None:
    done = type_it(Scripted({0: "total = second"}), replace(STEADY, by_word=1.0))
    assert done.accepted == len("total =") and done.rejected == 0 and done.by_fate["taken"] == 2.0
    assert type_it(Scripted({0: "total_ = first"}), replace(STEADY, by_word=1.0)).accepted == 0, "half a word"


@pytest.mark.parametrize(("seconds", "accepted", "rejected"), [(0.7, KEYS, 1), (0.8, KEYS - 1, 0)])
def test_nothing_is_accepted_or_rejected_faster_than_it_is_seen(seconds: float, accepted: int, rejected: int) -> None:
    right, wrong = (type_it(Scripted({0: text}, seconds)) for text in ("total = first", "other"))
    assert right.accepted == accepted and wrong.rejected == rejected


def test_fast_typing_leaves_no_time_to_see_anything() -> None:
    fast = replace(STEADY, key=0.2, pause=0.2)
    done = type_it(Scripted({0: "total = first"}), fast)
    assert (done.accepted, done.along) == (0, KEYS - 1)


def test_a_request_that_the_next_key_overtakes_is_cancelled_and_shows_nothing() -> None:
    done = type_it(Scripted({0: "total = first"}, seconds=1.0))
    assert (done.cancelled, done.requests, done.shown, done.accepted) == (KEYS, KEYS, 0, 0)
    assert done.by_fate == {"taken": 0.0, "wrong": 0.0, "nothing": done.joules}


def test_a_gate_that_refuses_asks_nobody() -> None:
    suggester = Scripted({0: "total = first"})
    done = type_span(SPAN, suggester, lambda place: (False, []), STEADY)
    assert suggester.limits == {} and done.gated == KEYS and done.requests == 0


def test_all_meet_the_same_intervals() -> None:
    slow = Typist(key=1.0, pause=2.0, by_word=1.0)  # without debounce, a limit is an interval
    arms = [Scripted(texts) for texts in ({}, {0: "total = second"}, {3: "al = first"}, {1: "x", 5: "y"})]
    for arm in arms:
        type_it(arm, slow)
    without, *others = arms
    assert len(without.limits) == KEYS and len(set(without.limits.values())) == KEYS
    for arm in others:
        assert arm.limits == pytest.approx({cursor: without.limits[cursor] for cursor in arm.limits})
    other_seed = Scripted({})
    type_span(SPAN, other_seed, typist=slow, seed=1)
    assert other_seed.limits != without.limits


def test_who_computes_gets_the_features_of_the_place() -> None:
    suggester = Scripted({})
    type_it(suggester)
    last_blank = NAMES.index("last_blank")
    assert [cursor for cursor, place in suggester.places.items() if place[last_blank]] == [6, 8]


@pytest.mark.parametrize(
    ("suggestion", "seconds", "by_word", "outcomes"),
    [
        ("total = second", 0.0, 0.0, [-1]),  # seen at nine keys
        ("total = second", 0.0, 1.0, [1]),  # later it is gone
        ("total = ", 0.9, 0.0, [1]),  # accepted from the second key on
        ("other", 0.9, 0.0, []),  # hardly visible
    ],
)
def test_a_suggestion_has_one_outcome(suggestion: str, seconds: float, by_word: float, outcomes: list[int]) -> None:
    histories = list[History]()
    type_it(Scripted({0: suggestion}, seconds), replace(STEADY, by_word=by_word), histories)
    assert histories[-1].last_outcome == sum(outcomes)
    assert histories[-1].mean_outcome == pytest.approx(sum(outcomes) / 20)


def test_what_is_typed_to_its_end_was_taken_as_in_the_front() -> None:
    histories = list[History]()
    done = type_it(Scripted({0: "tot"}), replace(STEADY, reaction=1.1), histories)
    assert done.accepted == 0 and histories[1].last_outcome == 1.0
    assert histories[1].seconds_since_taken == pytest.approx(0.0)

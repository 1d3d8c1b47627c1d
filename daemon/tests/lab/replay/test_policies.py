"""Policies on records made by hand: what is shown, and what that costs, counted by hand."""

from __future__ import annotations

import math
import random

import pytest

from green_code.energy.meters import DEFAULT_WATTS_PER_CORE
from green_code.work import Prices
from green_code_lab.replay import policies
from green_code_lab.replay.environment import Refuses, Replayer
from green_code_lab.replay.policies import shown_by
from green_code_lab.replay.spans import Span
from green_code_lab.replay.typist import type_span
from tests.lab.replay.by_hand import LAYERS, Token, records, replayer

REQUEST: list[Token] = [("total", 0.9), (" =", 0.8), (" first", 0.5), ("_", 0.9)]


def test_estimates_of_a_request_accumulate_within_it() -> None:
    own, _ = records([REQUEST, [("otal", 0.7), (" =", 0.2)]])
    assert policies.running_product(own) == pytest.approx([0.9, 0.72, 0.36, 0.324, 0.7, 0.14], rel=1e-3)
    assert policies.least_probability(own) == pytest.approx([0.9, 0.8, 0.5, 0.5, 0.7, 0.2], rel=1e-3)
    assert policies.mean_probability(own) == pytest.approx([0.9, 0.85, 2.2 / 3, 0.775, 0.7, 0.45], rel=1e-3)


def test_tokens_that_only_spell_again_what_healing_took_back_do_not_count() -> None:
    own, _ = records([[("to", 0.1), ("tal", 0.9)]])
    own.characters[:] = [0, 3]  # "to" stands before the cursor
    for estimate in (policies.running_product, policies.least_probability, policies.mean_probability):
        assert estimate(own)[-1] == pytest.approx(0.9, rel=1e-3)


@pytest.mark.parametrize(
    ("stop", "text", "passes"),
    [
        (0.95, "", 1),
        (0.75, "total", 2),  # the refused token is computed, too
        (0.4, "total =", 3),
        (0.0, "total = first_", 4),
    ],
)
def test_a_suggestion_ends_before_the_first_token_under_the_stop(stop: float, text: str, passes: int) -> None:
    of = replayer([REQUEST])
    shown = shown_by(of, policies.running_product(of.records), stop)
    assert shown.texts == [text] and shown.passes.tolist() == [passes]
    assert shown.right.tolist() == [text in ("total", "total =")], "the file goes on with first, not first_"
    assert of.agreed_characters.tolist() == [len("total = first")]
    assert of.token_right.tolist() == [True, True, True, False]


def test_nothing_half_written_and_nothing_too_short_is_shown() -> None:
    half: list[Token] = [("total", 0.75), (" =", 0.99), (" fir", 0.9), ("st", 0.1)]
    bracket: list[Token] = [("total", 0.75), ("(", 0.9), (" a", 0.1)]
    for request, text in ((half, "total ="), (bracket, "total"), ([("to", 0.7), (" ", 0.1)], "")):
        of = replayer([request])
        assert shown_by(of, policies.running_product(of.records), 0.2).texts == [text]


def test_over_a_line_end_goes_only_what_is_sure() -> None:
    lines: list[Token] = [("total", 0.99), ("\n", 0.7), ("print", 0.99)]
    sure: list[Token] = [("total", 0.99), ("\n", 0.9), ("print", 0.99)]
    of, sure_of = replayer([lines]), replayer([sure])
    assert shown_by(of, policies.running_product(of.records), 0.1).texts == ["total"]
    assert shown_by(sure_of, policies.running_product(sure_of.records), 0.1).texts == ["total\nprint"]


def test_the_end_of_the_text_costs_a_pass() -> None:
    of = replayer([REQUEST], reason="end_of_text")
    assert shown_by(of, policies.running_product(of.records), 0.0).passes.tolist() == [5]


TWO: list[Token] = [("total", 0.9), (" =", 0.9)]
OTHER: list[Token] = [("other", 0.9), (" =", 0.9)]


@pytest.mark.parametrize(
    ("second", "prompt", "joules"),
    [
        (TWO, [3, 3], 100.0),  # the same prompt and tokens: the head alone
        (OTHER, [3, 3], 202.0),  # the same prompt: the last state gives the first token
        (OTHER, [3, 4], 204.0),  # a new position: two forward passes
    ],
)
def test_what_the_cache_holds_is_not_computed_again(second: list[Token], prompt: list[int], joules: float) -> None:
    of = replayer([TWO, second], prompt=prompt)
    suggester = of.suggester(0, shown_by(of, policies.running_product(of.records), 0.0))
    first = suggester.ask(0, [], math.inf)
    assert (first.joules, first.text, first.tokens) == (204.0, "total =", 2)
    assert suggester.ask(1, [], math.inf).joules == joules


def test_tokens_that_were_accepted_are_in_the_cache() -> None:
    behind: list[Token] = [(" first", 0.9)]
    letters = [[(letter, 0.9)] for letter in "otal "]
    at_end = [(" =", 0.9), (" first", 0.9)]
    requests: list[list[Token]] = [[("total", 0.9), *at_end], *letters[:4], at_end, behind, behind]
    of = replayer(requests, prompt=[3, 4, 4, 4, 4, 4, 4, 5], shared=[0, 3, 4, 4, 4, 4, 4, 4])
    suggester = of.suggester(0, shown_by(of, policies.running_product(of.records), 0.0))
    assert suggester.ask(0, [], math.inf).joules == 3 * (2 + 100)
    assert suggester.ask(5, [], math.inf).joules == 100, "after `total`, ` =` is the token that the cache goes on with"


def rows(*refused: int, depth: int = 1) -> Refuses:
    """Refuses these rows."""
    return Refuses((depth,), lambda row, place, depth: row in refused)


def test_a_refused_request_costs_its_prompts_lower_layers_and_the_next_one_the_rest() -> None:
    one: list[Token] = [("total", 0.9)]
    of = replayer([one, one, one], prompt=[3, 3, 3])
    shown = shown_by(of, policies.running_product(of.records), 0.0)
    suggester = of.suggester(0, shown, rows(0, 1))
    assert suggester.ask(0, [], math.inf) == ("", 1.0, 1.0 / DEFAULT_WATTS_PER_CORE, 0)
    assert suggester.ask(1, [], math.inf).joules == 0, "its lower layers are done"
    assert suggester.ask(2, [0.5], math.inf) == ("total", 101.0, 101.0 / DEFAULT_WATTS_PER_CORE, 1)
    assert suggester.asked == [(0, [], True), (1, [], True), (2, [0.5], True)]
    assert suggester.joules == [1.0, 0.0, 101.0]


def test_refused_prompts_keep_their_lower_layers_while_they_grow() -> None:
    prices = Prices(layer_batch=1.0, small_batch_position=0.01)
    of = Replayer(*records([[("total", 0.9)]] * 3, prompt=[3, 4, 6]), prices, LAYERS)
    suggester = of.suggester(0, shown_by(of, policies.running_product(of.records), 0.0), rows(0, 1))
    assert [suggester.ask(i, [], math.inf).joules for i in range(3)] == pytest.approx(
        [1.03, 1.01, 1.02 + 1.01], rel=1e-9
    ), "the last layer runs over one position alone, besides keys and values"


def test_a_request_is_refused_at_the_first_depth_that_says_so_and_keeps_what_was_computed() -> None:
    prices, layers = Prices(layer_batch=1.0, decision=0.001), 8
    of = Replayer(*records([[("total", 0.9)]] * 6, prompt=[3, 3, 3, 3, 4, 4]), prices, layers)
    at = {0: 2, 1: 4, 2: 2, 3: 4, 4: 2}  # row: the depth that refuses it
    refuses = Refuses((2, 4), lambda row, place, depth: at.get(row) == depth)
    suggester = of.suggester(0, shown_by(of, policies.running_product(of.records), 0.0), refuses)
    joules = [suggester.ask(i, [], math.inf).joules for i in range(6)]
    assert suggester.refused == [2, 4, 0, 0, 2, 0]
    assert joules == pytest.approx(
        [
            2 + 0.001,
            2 + 0.002,  # two more layers; the lower head sees another place
            4 + 0.001,  # at the depth where it is, only the deeper head is asked; the rest
            0,  # no layer has to run
            2 + 0.001,
            6 + 0.002,
        ]
    )


def test_no_request_is_refused_for_which_no_layer_runs() -> None:
    one: list[Token] = [("total", 0.9)]
    of = replayer([one, one], prompt=[3, 3])
    suggester = of.suggester(0, shown_by(of, policies.running_product(of.records), 0.0), rows(1))
    assert suggester.ask(0, [], math.inf).joules == 102
    assert suggester.ask(1, [], math.inf)[:2] == ("total", 100.0)
    assert [runs for _, _, runs in suggester.asked] == [True, False]


def test_a_refusal_behind_what_healing_spells_costs_the_passes_before_it() -> None:
    request: list[Token] = [("to", 0.9), ("tal", 0.9), (" =", 0.9)]
    of = replayer([request, request], prompt=[3, 3])
    of.records.characters[:] = [0, 3, 5] * 2  # "to" stands before the cursor
    shown = shown_by(of, policies.running_product(of.records), 0.0)
    assert shown.texts == ["tal ="] * 2
    suggester = of.suggester(0, shown, rows(0))
    assert suggester.ask(0, [], math.inf)[:2] == ("", 102.0 + 1.0), "a pass for `to`, and one layer behind it"
    assert suggester.ask(1, [], math.inf).joules == 100 + 2 * 102, "`to` costs its head"


def test_the_text_before_the_span_costs_a_pass() -> None:
    of = replayer([TWO], prompt=[7])
    suggester = of.suggester(0, shown_by(of, policies.running_product(of.records), 0.0))
    assert suggester.open() == 102.0
    assert suggester.ask(0, [], math.inf).joules == 100 + 102, "it is in the cache, its last state too"


def test_what_is_cancelled_costs_the_share_that_was_computed() -> None:
    of = replayer([TWO])
    shown = shown_by(of, policies.running_product(of.records), 0.0)
    seconds = 204.0 / DEFAULT_WATTS_PER_CORE
    answer = of.suggester(0, shown).ask(0, [], seconds / 4)
    assert answer.joules == pytest.approx(51.0) and answer.seconds == seconds


@pytest.mark.parametrize("seed", range(40))
def test_no_policy_gains_joules_or_accepts_more_than_there_is(seed: int) -> None:
    draw = random.Random(seed)
    span = Span("p", "python", "x\n", "".join(draw.choices("ab (\n=", k=25)).strip() + "b", "\ny\n")
    requests, prompt, shared = list[list[Token]](), list[int](), list[int]()
    for offset in span.cursors:
        right = span.text[offset : offset + draw.randrange(9)]
        pieces = [right[:3], right[3:5], right[5:], draw.choice("ab=(")]
        requests.append([(piece, draw.uniform(0.05, 0.99)) for piece in pieces if piece])
        prompt.append(max(2, (prompt[-1] if prompt else 3) + draw.randrange(-1, 3)))
        shared.append(draw.randrange(min(prompt[-2:]) + 1) if draw.random() < 0.3 else min(prompt[-2:]))
    of = replayer(requests, span=span, prompt=prompt, shared=shared, reason=draw.choice(["floor", "end_of_text"]))
    refused = [row for row in range(len(requests)) if draw.random() < 0.3]
    for stop in (0.0, 0.2, 0.6, 1.0):
        shown = shown_by(of, policies.running_product(of.records), stop)
        for depth in range(1, LAYERS):
            done = type_span(span, of.suggester(0, shown, rows(*refused, depth=depth)), seed=seed)
            assert 0 <= done.accepted <= done.keys and done.right <= done.shown <= done.requests
            assert done.joules == pytest.approx(sum(done.by_fate.values())) and min(done.by_fate.values()) >= 0
            assert done.opening > 0 and len(done.outcomes) == done.shown
            assert sum(accepted for _, accepted, _ in done.outcomes) == done.accepted
            assert sum(rejected for _, _, rejected in done.outcomes) == done.rejected
            every = of.suggester(0, shown, rows(*refused, depth=depth))
            assert all(every.ask(cursor, [], math.inf).joules >= 0 for cursor in range(len(span.cursors)))

"""Which drafts are put on the cache, what they cost, and that a session loses little by them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest

from green_code.decoding.draft import AcceptanceRate
from green_code.decoding.drafter import MAX_DRAFTS, Drafter
from green_code.decoding.exit_policies import Confidence, Fixed, Full, Policy
from green_code.decoding.price_book import ExitRecord, Round
from green_code.work import Prices
from tests.decoding.drafted import (
    CHEAP,
    CHOOSER,
    END,
    LAYERS,
    NONE,
    PRICES,
    WORDS,
    EagerBook,
    Guesses,
    Scripted,
    always_right,
    book,
    cached,
    doubled,
    exact,
    fast,
    full_depth,
    price_of,
    stream_tokens,
)


def test_the_work_of_a_verification_is_counted() -> None:
    """Right drafts: 20 tokens in two passes, with a row a token; each layer runs once a pass over all that is new."""
    prompt = [1, 300, *range(100, 108)]
    expected = stream_tokens(Full(), False, prompt, 20)
    cache, price_book = cached(prompt), EagerBook(CHEAP)
    stream = exact(cache, Full(), price_book, Guesses(always_right(prompt, expected)), max_tokens=20)
    got = list(itertools.islice(stream, 20))
    assert [token for token, _ in got] == expected
    assert {depth for _, depth in got} == {LAYERS}
    assert price_book.rounds == 2
    assert (cache.work.layer_batches, cache.work.head_batches, cache.work.head_positions) == (
        2 * LAYERS,
        2,
        20,
    )
    before = len(prompt) - 1  # of these, the last layer makes keys and values alone
    assert cache.work.layer_positions == LAYERS * (before + 20) - before


def test_the_last_layer_is_run_once_where_a_policy_goes_on_behind_its_drafts() -> None:
    prompt = [1, 300, 40]
    cache, price_book = cached(prompt), EagerBook(CHEAP)
    policy = Scripted(itertools.cycle([True, False]), exits=(2,))
    stream = exact(cache, policy, price_book)
    runs = []
    for _ in range(6):
        next(stream)
        runs.append((cache.work.layer_batches, price_book.rounds))
    # A draft of the exit at 2, then the position behind it: two layers more than the pass that both go through.
    assert runs[-1][0] == (LAYERS + 2) * runs[-1][1]
    assert cache.work.kv_only == len(prompt) - 1


def test_wrong_drafts_cost_their_rows_and_are_forgotten() -> None:
    prompt = [1, 300, 40]
    expected = stream_tokens(Full(), False, prompt, 6)
    cache = cached(prompt)
    wrong = Guesses(lambda context: (expected[0] + 1) % WORDS if len(context) < 4 else NONE)
    stream = exact(cache, Full(), book(CHEAP), wrong)
    got = [token for token, _ in itertools.islice(stream, 6)]
    assert got == expected
    assert cache.tokens == [*prompt, *expected[:-1]]
    assert (cache.work.layer_batches, cache.work.head_batches, cache.work.head_positions) == (
        6 * LAYERS,
        6,
        7,
    )
    assert cache.work.layer_positions == LAYERS * (len(prompt) + 1 + 5) - (len(prompt) - 1)


def full_price(prompt: Sequence[int]) -> float:
    """Nine tokens behind it at full depth, where the last layer makes keys and values alone of all but its last position."""
    before = len(prompt) - 1
    return 9 * (LAYERS + 0.5 + 0.1) + 0.1 * (LAYERS * (before + 9) - before)


@pytest.mark.parametrize("policy", [Full(), Fixed((2,)), Confidence((2, 4), 0.0)])
def test_a_session_spends_little_more_than_full_depth_however_wrong_the_drafts_are(policy: Policy) -> None:
    """Text is always wrong and always sure of itself, exits are those of random weights; over many completions."""
    price_book, lookup = book(PRICES), Guesses(lambda _: END, 0.99)
    spent = full = 0.0
    for seed in range(8):
        prompt = doubled(seed)
        cache = cached(prompt)
        tokens = [token for token, _ in itertools.islice(exact(cache, policy, price_book, lookup), 9)]
        assert END not in tokens
        spent += price_of(cache)
        full += full_price(prompt)
        assert spent <= 1.02 * full
    assert price_book.spent == pytest.approx(spent)


@pytest.mark.parametrize(
    "policy", [Full(), Fixed((2,)), Fixed((4,)), Confidence((2, 4), 0.05), Confidence((4,), 1.0)]
)
def test_wrong_drafts_cost_little_in_fast_and_in_what_comes_after_it(policy: Policy) -> None:
    """Text is always wrong and always sure of itself. Beside the same without drafts, over many completions."""
    price_book, lookup = book(PRICES), Guesses(lambda _: END, 0.99)
    alone = spent = full = 0.0
    for seed in range(24):
        prompt = doubled(seed % 4)
        cache = cached(prompt)
        if seed < 16:
            stream = fast(cache, policy, price_book, lookup)
            plain = cached(prompt)
            list(itertools.islice(fast(plain, policy), 9))
            alone += price_of(plain)
        else:
            stream = exact(cache, Full(), price_book, lookup)
            alone += full_price(prompt)
        assert END not in [token for token, _ in itertools.islice(stream, 9)]
        spent += price_of(cache)
        full += full_price(prompt)
        assert spent - alone <= 0.02 * full
    assert price_book.full_depth == pytest.approx(full)


def test_a_policy_that_always_goes_on_does_not_keep_drafts_away() -> None:
    """What it costs to ask it is not what drafts lose."""
    price_book, policy = book(PRICES), Confidence((2, 4), 1.0)
    prompt, expected = doubled(1), full_depth(1, b"")
    for knowing in (False, True):
        cache = cached(prompt)
        lookup = Guesses(always_right(prompt, expected) if knowing else lambda _: NONE)
        stream = fast(cache, policy, price_book, lookup, max_tokens=20)
        assert [token for token, _ in itertools.islice(stream, 20)] == expected[:20]
        assert cache.work.layer_batches == LAYERS * (2 if knowing else 20)


def test_tokens_that_nobody_takes_are_no_saving() -> None:
    """A stop rule ends each completion after its first token, whatever was verified with it."""
    price_book = book(PRICES)
    spent = full = 0.0
    for seed in range(12):
        prompt = doubled(seed % 4)
        lookup = Guesses(always_right(prompt, full_depth(seed % 4, b"")))
        cache = cached(prompt)
        stream = exact(cache, Full(), price_book, lookup, max_tokens=20)
        assert next(stream)[0] == full_depth(seed % 4, b"")[0]
        stream.close()
        spent += price_of(cache)
        full += LAYERS + 0.5 + 0.1 + 0.1 * (LAYERS * len(prompt) - (len(prompt) - 1))
        assert (price_book.spent, price_book.full_depth) == pytest.approx((spent, full))
        assert spent <= 1.02 * full


@pytest.mark.parametrize("chance", [0.3, 0.6, 0.9])
def test_drafting_stops_where_the_expected_gain_does(chance: float) -> None:
    """At a row's price of r whole passes, as many drafts are taken as powers of the chance are over r."""
    prices = Prices(1.0, 0.1, 0.1, head_batch=0.5, head_position=0.4)
    by_hand = sum(chance**k > 1.0 / (6 + 0.5 + 1.0) for k in range(1, MAX_DRAFTS + 1))
    cache, price_book = cached([1, 2]), book(prices, math.inf)
    drafter, round = (
        Drafter(price_book, Guesses(lambda _: 5, chance), Full(), CHOOSER),
        Round(price_book, cache, Full()),
    )
    round.begin()
    drafts, unsure = drafter.draft(cache, round, b"", MAX_DRAFTS)
    assert (len(drafts), unsure) == (by_hand, None)
    assert cache.tokens == [1, 2] + [5] * by_hand


def test_exits_that_do_not_pay_are_not_even_asked() -> None:
    policy, cache = Scripted(itertools.cycle([True])), cached([1, 5, 7])
    got = list(itertools.islice(exact(cache, policy, book(Prices(1.0, head_batch=6.0))), 5))
    assert [depth for _, depth in got] == [LAYERS] * 5
    assert (cache.work.decisions, cache.work.head_batches, cache.work.head_positions) == (0, 5, 5)
    assert not policy.seen


def test_an_exit_that_is_never_sure_is_left_alone_after_a_while() -> None:
    """Also of tokens in which the exit had too little confidence it is learned that they come up, and how right they are."""
    price_book = book(Prices(1.0, head_batch=2.0), math.inf)
    shares, chances = (0.47, 0.14, 0.11, 0.11, 0.17), (0.22, 0.55, 0.74, 0.90, 0.99)  # an early exit's
    price_book.exits[2] = ExitRecord(
        counts=[8 * share for share in shares], rates=[*map(AcceptanceRate.prior, chances)]
    )
    policy = Scripted(itertools.cycle([True]), exits=(2,))
    cache = cached([1, 5, 7])
    tokens = list(itertools.islice(exact(cache, policy, price_book), 60))
    record = price_book.record(2)
    assert 0 < len(policy.seen) < 10
    assert sum(rate.seen for rate in record.rates) == pytest.approx(5 * 8 + len(policy.seen))
    assert sum(record.counts) == pytest.approx(8 + len(policy.seen))
    assert cache.work.head_batches == len(policy.seen) + price_book.rounds
    assert price_book.paying_exits(policy, 1.0, 1) == {}
    assert tokens[-1][1] == LAYERS

"""Which drafts are put on the cache, what they cost, and that a session loses little by them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest

from green_code.decoding.draft import AcceptanceRate
from green_code.decoding.drafter import draft
from green_code.decoding.effort import Effort
from green_code.decoding.exit_policies import Confidence, Fixed, Full, Policy
from green_code.decoding.generate import exact, fast
from green_code.decoding.kv_cache import KVCache
from green_code.decoding.price_book import MAX_DRAFTS, ExitRecord, PriceBook, Prices
from tests.decoding.drafted import (
    CHEAP,
    CHOOSER,
    DECODER,
    END,
    LAYERS,
    NONE,
    PRICES,
    WORDS,
    EagerDrafter,
    Guesses,
    Scripted,
    always_right,
    doubled,
    full_depth,
    price_of,
    stream_tokens,
)


def test_the_work_of_a_verification_is_counted() -> None:
    """Right drafts: 20 tokens in two passes, with a row a token; each layer runs once a pass over all that is new."""
    prompt = [1, 300, *range(100, 108)]
    expected = stream_tokens(Full(), False, prompt, 20)
    cache, effort = KVCache(DECODER), Effort()
    cache.append(prompt)
    price_book = EagerDrafter(CHEAP, Guesses(always_right(prompt, expected)))
    stream = exact(cache, Full(), CHOOSER, b"", effort, price_book=price_book, max_tokens=20)
    got = list(itertools.islice(stream, 20))
    assert [token for token, _ in got] == expected
    assert {depth for _, depth in got} == {LAYERS}
    assert price_book.verifications == 2
    assert (cache.runs, effort.heads, effort.head_rows) == (2 * LAYERS, 2, 20)
    before = len(prompt) - 1  # of these, the last layer makes keys and values alone
    assert cache.evaluations == LAYERS * (before + 20) - before


def test_the_last_layer_is_run_once_where_a_policy_goes_on_behind_its_drafts() -> None:
    prompt = [1, 300, 40]
    cache, effort = KVCache(DECODER), Effort()
    cache.append(prompt)
    policy = Scripted(itertools.cycle([True, False]), exits=(2,))
    price_book = EagerDrafter(CHEAP, None)
    stream = exact(cache, policy, CHOOSER, b"", effort, price_book=price_book)
    runs = []
    for _ in range(6):
        next(stream)
        runs.append((cache.runs, price_book.verifications))
    # A draft of the exit at 2, then the position behind it: two layers more than the pass that both go through.
    assert runs[-1][0] == (LAYERS + 2) * runs[-1][1]
    assert cache.entries == len(prompt) - 1


def test_wrong_drafts_cost_their_rows_and_are_forgotten() -> None:
    prompt = [1, 300, 40]
    expected = stream_tokens(Full(), False, prompt, 6)
    cache, effort = KVCache(DECODER), Effort()
    cache.append(prompt)
    wrong = Guesses(lambda context: (expected[0] + 1) % WORDS if len(context) < 4 else NONE)
    stream = exact(cache, Full(), CHOOSER, b"", effort, price_book=PriceBook(CHEAP, wrong))
    got = [token for token, _ in itertools.islice(stream, 6)]
    assert got == expected
    assert cache.tokens == [*prompt, *expected[:-1]]
    assert (cache.runs, effort.heads, effort.head_rows) == (6 * LAYERS, 6, 7)
    assert cache.evaluations == LAYERS * (len(prompt) + 1 + 5) - (len(prompt) - 1)


def full_price(prompt: Sequence[int]) -> float:
    """Nine tokens behind it at full depth, where the last layer makes keys and values alone of all but its last position."""
    before = len(prompt) - 1
    return 9 * (LAYERS + 0.5 + 0.1) + 0.1 * (LAYERS * (before + 9) - before)


@pytest.mark.parametrize("policy", [Full(), Fixed((2,)), Confidence((2, 4), 0.0)])
def test_a_session_spends_little_more_than_full_depth_however_wrong_the_drafts_are(policy: Policy) -> None:
    """Text is always wrong and always sure of itself, exits are those of random weights; over many completions."""
    price_book = PriceBook(PRICES, Guesses(lambda _: END, 0.99))
    spent = full = 0.0
    for seed in range(8):
        prompt = doubled(seed)
        cache, effort = KVCache(DECODER), Effort()
        cache.append(prompt)
        tokens = [
            t
            for t, _ in itertools.islice(exact(cache, policy, CHOOSER, b"", effort, price_book=price_book), 9)
        ]
        assert END not in tokens
        spent += price_of(cache, effort)
        full += full_price(prompt)
        assert spent <= 1.02 * full
    assert price_book.spent == pytest.approx(spent)


@pytest.mark.parametrize(
    "policy", [Full(), Fixed((2,)), Fixed((4,)), Confidence((2, 4), 0.05), Confidence((4,), 1.0)]
)
def test_wrong_drafts_cost_little_in_fast_and_in_what_comes_after_it(policy: Policy) -> None:
    """Text is always wrong and always sure of itself. Beside the same without drafts, over many completions."""
    price_book = PriceBook(PRICES, Guesses(lambda _: END, 0.99))
    alone = spent = full = 0.0
    for seed in range(24):
        prompt = doubled(seed % 4)
        cache, effort = KVCache(DECODER), Effort()
        cache.append(prompt)
        if seed < 16:
            stream = fast(cache, policy, CHOOSER, b"", effort, price_book=price_book)
            plain, plain_effort = KVCache(DECODER), Effort()
            plain.append(prompt)
            list(itertools.islice(fast(plain, policy, CHOOSER, b"", plain_effort), 9))
            alone += price_of(plain, plain_effort)
        else:
            stream = exact(cache, Full(), CHOOSER, b"", effort, price_book=price_book)
            alone += full_price(prompt)
        assert END not in [token for token, _ in itertools.islice(stream, 9)]
        spent += price_of(cache, effort)
        full += full_price(prompt)
        assert spent - alone <= 0.02 * full
    assert price_book.full == pytest.approx(full)


def test_a_policy_that_always_goes_on_does_not_keep_drafts_away() -> None:
    """What it costs to ask it is not what drafts lose."""
    price_book, policy = PriceBook(PRICES, Guesses(lambda _: NONE)), Confidence((2, 4), 1.0)
    prompt, expected = doubled(1), full_depth(1, b"")
    for knowing in (False, True):
        cache, effort = KVCache(DECODER), Effort()
        cache.append(prompt)
        if knowing:
            price_book.lookup = Guesses(always_right(prompt, expected))
        stream = fast(cache, policy, CHOOSER, b"", effort, price_book=price_book, max_tokens=20)
        assert [token for token, _ in itertools.islice(stream, 20)] == expected[:20]
        assert cache.runs == LAYERS * (2 if knowing else 20)


def test_tokens_that_nobody_takes_are_no_saving() -> None:
    """A stop rule ends each completion after its first token, whatever was verified with it."""
    price_book = PriceBook(PRICES, None)
    spent = full = 0.0
    for seed in range(12):
        prompt = doubled(seed % 4)
        price_book.lookup = Guesses(always_right(prompt, full_depth(seed % 4, b"")))
        cache, effort = KVCache(DECODER), Effort()
        cache.append(prompt)
        stream = exact(cache, Full(), CHOOSER, b"", effort, price_book=price_book, max_tokens=20)
        assert next(stream)[0] == full_depth(seed % 4, b"")[0]
        stream.close()
        spent += price_of(cache, effort)
        full += LAYERS + 0.5 + 0.1 + 0.1 * (LAYERS * len(prompt) - (len(prompt) - 1))
        assert (price_book.spent, price_book.full) == pytest.approx((spent, full))
        assert spent <= 1.02 * full


@pytest.mark.parametrize("chance", [0.3, 0.6, 0.9])
def test_drafting_stops_where_the_expected_gain_does(chance: float) -> None:
    """At a row's price of r whole passes, as many drafts are taken as powers of the chance are over r."""
    prices = Prices(LAYERS, run=1.0, few=0.1, evaluation=0.1, head=0.5, head_row=0.4)
    by_hand = sum(chance**k > 1.0 / (6 + 0.5 + 1.0) for k in range(1, MAX_DRAFTS + 1))
    cache = KVCache(DECODER)
    cache.append([1, 2])
    price_book = PriceBook(prices, Guesses(lambda _: 5, chance), math.inf)
    bounds, full = (prices, prices), prices.first(2 * LAYERS)
    drafts, unsure = draft(
        cache, Full(), CHOOSER, b"", Effort(), lambda _: False, price_book, MAX_DRAFTS, bounds, full
    )
    assert (len(drafts), unsure) == (by_hand, None)
    assert cache.tokens == [1, 2] + [5] * by_hand


def test_exits_that_do_not_pay_are_not_even_asked() -> None:
    policy, effort = Scripted(itertools.cycle([True])), Effort()
    cache = KVCache(DECODER)
    cache.append([1, 5, 7])
    dear = Prices(LAYERS, run=1.0, head=6.0)
    got = list(
        itertools.islice(exact(cache, policy, CHOOSER, b"", effort, price_book=PriceBook(dear, None)), 5)
    )
    assert [depth for _, depth in got] == [LAYERS] * 5
    assert (effort.decisions, effort.heads, effort.head_rows) == (0, 5, 5)
    assert not policy.seen


def test_an_exit_that_is_never_sure_is_left_alone_after_a_while() -> None:
    """Also of tokens in which the exit had too little confidence it is learned that they come up, and how right they are."""
    price_book = PriceBook(Prices(LAYERS, run=1.0, head=2.0), None, math.inf)
    shares, chances = (0.47, 0.14, 0.11, 0.11, 0.17), (0.22, 0.55, 0.74, 0.90, 0.99)  # an early exit's
    price_book.exits[2] = ExitRecord(
        seen=[8 * share for share in shares], rates=[*map(AcceptanceRate.prior, chances)]
    )
    policy = Scripted(itertools.cycle([True]), exits=(2,))
    cache = KVCache(DECODER)
    cache.append([1, 5, 7])
    effort = Effort()
    tokens = list(itertools.islice(exact(cache, policy, CHOOSER, b"", effort, price_book=price_book), 60))
    record = price_book.record(2)
    assert 0 < len(policy.seen) < 10
    assert sum(rate.asked for rate in record.rates) == pytest.approx(5 * 8 + len(policy.seen))
    assert sum(record.seen) == pytest.approx(8 + len(policy.seen))
    assert effort.heads == len(policy.seen) + price_book.verifications
    assert price_book.worth_asking(policy, 1.0, 1) == {}
    assert tokens[-1][1] == LAYERS

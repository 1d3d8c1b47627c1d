"""Which drafts go on the cache, what they cost, and the bound on a session's loss by wrong drafts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest

from green_code.decoding.draft import AcceptanceRate
from green_code.decoding.drafter import MAX_DRAFTS, Drafter
from green_code.decoding.exit_policies import Confidence, Fixed, Full, Policy
from green_code.decoding.price_book import ExitRecord, RoundObserver
from green_code.models.backend import SMALL_BATCH
from green_code.work import Prices
from tests.decoding.scripted_drafts import (
    CHEAP,
    CHOOSER,
    END_OF_TEXT,
    LAYERS,
    NEW_TOKENS,
    PRICES,
    TOKENS,
    EagerPriceBook,
    ScriptedLookup,
    ScriptedPolicy,
    correct_guess,
    exact,
    expected_tokens,
    fast,
    full_depth_tokens,
    new_cache,
    new_price_book,
    price_by_hand,
    repeated_prompt,
)


def test_the_work_of_a_verification_is_counted() -> None:
    """Correct drafts: 20 tokens in two passes; each pass runs every layer once over all new positions."""
    prompt = [1, 300, *range(100, 108)]
    expected = full_depth_tokens(prompt, 20)
    cache, price_book = new_cache(prompt), EagerPriceBook(CHEAP)
    stream = exact(cache, Full(), price_book, ScriptedLookup(correct_guess(prompt, expected)), max_tokens=20)
    got = list(itertools.islice(stream, 20))
    assert [each.token for each in got] == expected
    assert {each.depth for each in got} == {LAYERS}
    assert price_book.rounds == 2
    work = cache.work
    assert (work.layer_batches, work.head_batches, work.head_positions) == (2 * LAYERS, 2, 20)
    before = len(prompt) - 1  # the last layer computes only their keys and values
    assert work.layer_positions == LAYERS * (before + 20) - before


def test_the_last_layer_runs_once_where_a_policy_continues_behind_its_drafts() -> None:
    prompt = [1, 300, 40]
    cache, price_book = new_cache(prompt), EagerPriceBook(CHEAP)
    policy = ScriptedPolicy(itertools.cycle([True, False]), exits=(2,))
    stream = exact(cache, policy, price_book)
    batches_and_rounds = []
    for _ in range(6):
        next(stream)
        batches_and_rounds.append((cache.work.layer_batches, price_book.rounds))
    # Exit 2 drafts a token and stops at the position behind it: two layers more than the pass that both share.
    batches, rounds = batches_and_rounds[-1]
    assert batches == (LAYERS + 2) * rounds
    assert cache.work.kv_only == len(prompt) - 1


def test_wrong_drafts_cost_their_positions_and_are_removed() -> None:
    prompt = [1, 300, 40]
    expected = full_depth_tokens(prompt, 6)
    cache = new_cache(prompt)
    wrong = ScriptedLookup(lambda context: (expected[0] + 1) % TOKENS if len(context) < 4 else None)
    stream = exact(cache, Full(), new_price_book(CHEAP), wrong)
    got = [each.token for each in itertools.islice(stream, 6)]
    assert got == expected
    assert cache.tokens == [*prompt, *expected[:-1]]
    work = cache.work
    assert (work.layer_batches, work.head_batches, work.head_positions) == (6 * LAYERS, 6, 7)
    assert work.layer_positions == LAYERS * (len(prompt) + 1 + 5) - (len(prompt) - 1)


def full_depth_price(prompt: Sequence[int], tokens: int = 9) -> float:
    """Price at `PRICES` of tokens at full depth behind a prompt; the last layer runs over its last position only."""
    before = len(prompt) - 1
    return tokens * (LAYERS + 0.5 + 0.1) + 0.1 * (LAYERS * (before + tokens) - before)


@pytest.mark.parametrize("policy", [Full(), Fixed((2,)), Confidence((2, 4), 0.0)])
def test_wrong_drafts_cost_a_session_little_in_exact(policy: Policy) -> None:
    """Prompt lookup is always wrong and reports a high acceptance rate; the exits have random weights."""
    price_book, lookup = new_price_book(PRICES), ScriptedLookup(lambda _: END_OF_TEXT, 0.99)
    spent = full_depth = 0.0
    for seed in range(8):
        prompt = repeated_prompt(seed % 4)
        cache = new_cache(prompt)
        tokens = [each.token for each in itertools.islice(exact(cache, policy, price_book, lookup), 9)]
        assert END_OF_TEXT not in tokens
        spent += price_by_hand(cache)
        full_depth += full_depth_price(prompt)
        assert spent <= 1.02 * full_depth
    assert price_book.spent == pytest.approx(spent)


@pytest.mark.parametrize("policy", [Full(), Fixed((2,)), Fixed((4,)), Confidence((2, 4), 0.05), Confidence((4,), 1.0)])
def test_wrong_drafts_cost_a_session_little_in_fast_and_in_exact_after_it(policy: Policy) -> None:
    """Prompt lookup is always wrong and reports a high acceptance rate. Compared with the same without drafts."""
    price_book, lookup = new_price_book(PRICES), ScriptedLookup(lambda _: END_OF_TEXT, 0.99)
    fast_prices = [_undrafted_fast_price(policy, seed) for seed in range(4)]
    undrafted = spent = full_depth = 0.0
    for seed in range(12):
        prompt = repeated_prompt(seed % 4)
        cache = new_cache(prompt)
        if seed < 8:
            stream = fast(cache, policy, price_book, lookup)
            undrafted += fast_prices[seed % 4]
        else:
            stream = exact(cache, Full(), price_book, lookup)
            undrafted += full_depth_price(prompt)
        assert END_OF_TEXT not in [each.token for each in itertools.islice(stream, 9)]
        spent += price_by_hand(cache)
        full_depth += full_depth_price(prompt)
        assert spent - undrafted <= 0.02 * full_depth
    assert price_book.full_depth == pytest.approx(full_depth)


def _undrafted_fast_price(policy: Policy, seed: int) -> float:
    cache = new_cache(repeated_prompt(seed))
    list(itertools.islice(fast(cache, policy), 9))
    return price_by_hand(cache)


def test_a_policy_that_always_continues_does_not_prevent_drafts() -> None:
    """What the policy itself costs is no loss by drafts."""
    price_book, policy = new_price_book(PRICES), Confidence((2, 4), 1.0)
    prompt = repeated_prompt(1)
    expected = full_depth_tokens(prompt, 20)
    for drafts, batches in ((False, 20), (True, 2)):
        cache = new_cache(prompt)
        lookup = ScriptedLookup(correct_guess(prompt, expected) if drafts else lambda _: None)
        stream = fast(cache, policy, price_book, lookup, max_tokens=20)
        assert [each.token for each in itertools.islice(stream, 20)] == expected
        assert cache.work.layer_batches == LAYERS * batches


def test_verified_tokens_that_are_not_used_are_no_saving() -> None:
    """A stop rule ends each completion after its first token, whatever the same pass verified behind it."""
    price_book = new_price_book(PRICES)
    spent = full_depth = 0.0
    for seed in range(8):
        prompt, expected = repeated_prompt(seed % 4), expected_tokens(seed % 4)
        cache, lookup = new_cache(prompt), ScriptedLookup(correct_guess(prompt, expected))
        stream = exact(cache, Full(), price_book, lookup, max_tokens=NEW_TOKENS)
        assert next(stream).token == expected[0]
        stream.close()
        spent += price_by_hand(cache)
        full_depth += full_depth_price(prompt, tokens=1)
        assert (price_book.spent, price_book.full_depth) == pytest.approx((spent, full_depth))
        assert spent <= 1.02 * full_depth


@pytest.mark.parametrize("taken", [1, 6])
def test_nothing_is_drafted_where_completions_end_at_once(taken: int) -> None:
    """All drafts are right, but the tokens that they would save are taken only where a completion goes on."""
    price_book, prompt, rate = new_price_book(PRICES, math.inf), repeated_prompt(1), AcceptanceRate.prior(0.9)
    for _ in range(80):
        cache, lookup = new_cache(prompt), ScriptedLookup(correct_guess(prompt, expected_tokens(1)))
        lookup.rate = rate
        stream = exact(cache, Full(), price_book, lookup, max_tokens=NEW_TOKENS)
        assert [each.token for each in itertools.islice(stream, taken)] == expected_tokens(1)[:taken]
        stream.close()
    assert (cache.work.head_positions == 1) == (taken == 1)
    assert (rate.chance > 0.5) == (taken == 6)


@pytest.mark.parametrize("chance", [0.3, 0.6, 0.9])
def test_drafting_stops_where_the_expected_gain_is_less_than_the_price(chance: float) -> None:
    """The k-th draft is right with probability chance^k; then it saves a pass (7.5), and it costs one position (1.0)."""
    prices = Prices(1.0, 0.1, 0.1, head_batch=0.5, head_position=0.4)
    paying = sum(chance**k > 1.0 / (6 + 0.5 + 1.0) for k in range(1, MAX_DRAFTS + 1))
    cache, price_book = new_cache([1, 2]), new_price_book(prices, math.inf)
    drafter = Drafter(price_book, ScriptedLookup(lambda _: 5, chance), Full(), CHOOSER)
    round = RoundObserver(price_book, cache, Full())
    round.begin()
    drafts, unsure = drafter.draft(cache, round, b"", MAX_DRAFTS)
    assert (len(drafts), unsure) == (paying, None)
    assert cache.tokens == [1, 2] + [5] * paying


def test_an_exit_that_does_not_pay_is_not_evaluated() -> None:
    policy, cache = ScriptedPolicy(itertools.cycle([True])), new_cache([1, 5, 7])
    got = list(itertools.islice(exact(cache, policy, new_price_book(Prices(1.0, head_batch=6.0))), 5))
    assert [each.depth for each in got] == [LAYERS] * 5
    assert (cache.work.decisions, cache.work.head_batches, cache.work.head_positions) == (0, 5, 5)
    assert not policy.views


def test_an_exit_that_never_drafts_is_no_longer_evaluated_after_a_while() -> None:
    """Its record also counts the tokens whose confidence was too low: how often they occur, and how often they are right."""
    price_book = new_price_book(Prices(1.0, head_batch=2.0), math.inf)
    shares, chances = (0.47, 0.14, 0.11, 0.11, 0.17), (0.22, 0.55, 0.74, 0.90, 0.99)  # of an early exit
    price_book.records[2] = ExitRecord(
        counts=[8 * share for share in shares], rates=[*map(AcceptanceRate.prior, chances)]
    )
    policy = ScriptedPolicy(itertools.cycle([True]), exits=(2,))
    cache = new_cache([1, 5, 7])
    tokens = list(itertools.islice(exact(cache, policy, price_book), 60))
    record = price_book.record(2)
    assert 0 < len(policy.views) < 10
    assert sum(rate.seen for rate in record.rates) == pytest.approx(5 * 8 + len(policy.views))
    assert sum(record.counts) == pytest.approx(8 + len(policy.views))
    assert cache.work.head_batches == len(policy.views) + price_book.rounds
    assert price_book.paying_exits(policy, 1.0, 1) == {}
    assert tokens[-1].depth == LAYERS


def test_positions_pending_above_the_exit_do_not_raise_the_price_of_drafts_in_fast() -> None:
    """The pass ends at the exit, where one position is new: three drafts still fit in a small batch with it."""
    cache, policy = new_cache(range(2, 12)), Fixed((2,))
    cache.advance(len(cache) - 1, 2)
    cache.append([5])
    price_book = new_price_book(Prices(1.0, small_batch_position=0.0, layer_position=99.0), math.inf)
    drafter = Drafter(price_book, ScriptedLookup(lambda _: 7), Full(), CHOOSER)
    round = RoundObserver(price_book, cache, policy)
    round.begin()
    assert len(drafter.draft(cache, round, b"", MAX_DRAFTS)[0]) == SMALL_BATCH - 1

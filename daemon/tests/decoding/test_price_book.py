"""Look-up against a search through the whole text; which drafts are taken against sums worked out by hand."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from green_code.decoding.draft import AcceptanceRate
from green_code.decoding.exit_policies import Fixed
from green_code.decoding.price_book import PassPrice, PriceBook
from green_code.decoding.prompt_lookup import LENGTHS, NgramIndex, PromptLookup
from green_code.models.tiny import TinySource
from green_code.models.vocabulary import Vocabulary
from green_code.work import Prices

VOCABULARY = Vocabulary(*TinySource().vocabulary(None))
LAYERS = 6


def brute_force(text: Sequence[int], run: Sequence[int]) -> list[int]:
    """What followed the latest four places of `run`, by looking at every place."""
    n = len(run)
    followed = [text[i + n] for i in range(len(text) - n) if list(text[i : i + n]) == list(run)]
    return followed[::-1][:4]


SMALL = st.lists(st.integers(0, 2), max_size=14)  # so few different tokens that runs come again
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("extend"), SMALL),
        st.tuples(st.just("truncate"), st.integers(0, 30)),
        st.tuples(st.just("follow"), SMALL),
        st.tuples(st.just("pass"), st.integers(0, 20)),
    ),
    max_size=12,
)


@given(STEPS, st.lists(st.integers(0, 2), min_size=8, max_size=8))
def test_the_index_finds_what_a_search_finds(steps: list[tuple[str, object]], asked: list[int]) -> None:
    index, text = NgramIndex(), list[int]()
    for name, value in steps:
        if name == "pass":  # the text loses its beginning, and goes on
            text = [*text[value:], 0, 1]  # type: ignore[misc]
            index.follow(text)
        else:
            getattr(index, name)(value)
            kept = text[:value] if isinstance(value, int) else text if name == "extend" else []
            text = kept if isinstance(value, int) else [*kept, *value]  # type: ignore[misc]
        assert index.tokens == text
        assert len(index) == len(text)
        for context in (asked, text):
            for n in LENGTHS:
                if len(context) >= n:
                    run = context[-n:]
                    assert index.continuations(run) == brute_force(text, run)


def test_a_text_that_loses_its_beginning_is_not_indexed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    source = random.Random(0).choices(range(1000), k=3000)
    index, extended = NgramIndex(), list[int]()
    extend = index.extend

    def counted(tokens: Sequence[int]) -> None:
        extended.append(len(tokens))
        extend(tokens)

    monkeypatch.setattr(index, "extend", counted)
    for start in range(0, 2000, 10):
        index.follow(source[start : start + 1000])
        assert index.tokens == source[start : start + 1000]
        for place in (start + 20, start + 400):
            assert index.continuations(source[place : place + 8]) == [source[place + 8]]
        assert not index.continuations(source[start - 5 : start + 3] if start else [0] * 8)
    assert sum(extended) < 8000  # 200,000 if each was
    assert index.memory_bytes < 2 * 1000 * 470


def test_tokens_that_were_edited_away_are_not_offered() -> None:
    lookup = PromptLookup(VOCABULARY, LAYERS)
    lookup.document.follow([1, 2, 3, 4, 5])
    assert guessed(lookup, [2, 3]) == 4
    lookup.document.follow([1, 2, 3, 9])
    assert guessed(lookup, [2, 3]) == 9
    assert guessed(lookup, [4]) is None
    lookup.around([7, 8], [2, 3, 6])
    lookup.around([], [5])
    assert guessed(lookup, [7]) is None
    assert guessed(lookup, [6]) is None


def guessed(lookup: PromptLookup, context: Sequence[int], required: bytes = b"") -> int | None:
    draft = lookup.draft(context, required)
    return None if draft is None else draft.token


def test_the_longest_run_counts_and_then_the_latest() -> None:
    lookup = PromptLookup(VOCABULARY, LAYERS)
    lookup.document.follow([10, 11, 12, 13, 50, 12, 13, 51, 13, 52])
    assert (
        guessed(lookup, [10, 11, 12, 13]) == 50
    )  # three tokens agree there: the longest length that is looked up
    assert guessed(lookup, [99, 12, 13]) == 51
    assert guessed(lookup, [99, 13]) == 52
    assert guessed(lookup, [99]) is None
    lookup.around(earlier=[13, 60], after=[13, 61, 62])
    assert guessed(lookup, [99, 13]) == 52
    assert guessed(lookup, [61]) == 62
    lookup.remember([12, 13], [70, 71])
    assert guessed(lookup, [99, 13]) == 70  # what was completed last comes before the document
    assert guessed(lookup, [71]) is None  # nothing came after it


def test_what_a_completion_came_after_counts_once() -> None:
    """However often it is asked there: the document has it already."""
    lookup = PromptLookup(VOCABULARY, LAYERS)
    lookup.document.follow([20, 1, 5, 21, 22])
    once = lookup.draft([99, 1], b"")
    for _ in range(5):
        lookup.remember([20, 1, 5, 21, 22], [60, 61])
    again = lookup.draft([99, 1], b"")
    assert once is not None and again is not None and again.rate is once.rate
    assert guessed(lookup, [21, 22]) == 60


def test_completions_are_not_run_together_and_the_oldest_go() -> None:
    lookup = PromptLookup(VOCABULARY, LAYERS)
    for i in range(250):
        lookup.remember([300 + i % 50], [i, 5, 6])
    assert guessed(lookup, [249, 5]) == 6
    assert guessed(lookup, [0, 5]) == 6  # by the 5 alone
    assert guessed(lookup, [0]) is None
    assert guessed(lookup, [5, 6]) is None


def test_a_token_that_cannot_be_chosen_is_not_offered() -> None:
    word, other = VOCABULARY.token_bytes.index(b"return"), VOCABULARY.token_bytes.index(b"self")
    lookup = PromptLookup(VOCABULARY, LAYERS)
    lookup.document.follow([40, word, 40, 1, 40, other])
    assert guessed(lookup, [40]) == other
    assert guessed(lookup, [40], b"ret") == word
    assert guessed(lookup, [40], b"return x") == word
    assert guessed(lookup, [40], b"y") is None


@pytest.mark.parametrize(
    ("document", "by_hand"),
    [
        ([1, 5, 1, 6], 0.19),  # the two latest differ
        ([1, 5], 0.30),
        ([1, 5, 1, 5], 0.57),
        ([1, 5] * 4, 0.85),
        ([1, 6] + [1, 5] * 3, 0.57),
    ],
)
def test_the_chance_depends_on_whether_the_places_agree(document: list[int], by_hand: float) -> None:
    lookup = PromptLookup(VOCABULARY, LAYERS)
    lookup.document.follow([*document, 90])
    draft = lookup.draft([99, 1], b"")
    assert draft is not None
    assert draft.rate.chance == pytest.approx(by_hand, abs=0.1)  # the priors are measured anew now and then


def test_a_rate_moves_from_its_prior_to_what_is_found() -> None:
    rate = AcceptanceRate.prior(0.5, 8)
    for right in (True, False, True, True):
        rate.observe(right)
    assert rate.chance == pytest.approx((4 + 3) / (8 + 4))


PRICES = Prices(2.0, 0.1, 0.2, head_batch=3.0, head_position=0.5, decision=0.25)
PASS = PassPrice(PRICES, layers=10)


def test_prices_by_hand() -> None:
    assert [PASS.row(before) for before in (0, 3, 4, 9)] == pytest.approx([1.5, 1.5, 2.5, 2.5])
    assert [PASS.with_pending(9 * rows + 1) for rows in (1, 4, 6)] == pytest.approx([24.5, 27.2, 30.8])
    assert PASS.whole == pytest.approx(10 * 2 + 3 + 1.5)
    price_book = PriceBook(PRICES, 10)
    assert price_book.full_pass.gain(0.5, 2.0) == pytest.approx(24.5 / 2 - 2)
    assert [price_book.exit_price(4, before) for before in (1, 4)] == pytest.approx([9.5, 10.5])


def test_the_sum_that_says_whether_an_exit_pays() -> None:
    """Half of the time it is sure and right, half of the time unsure and wrong."""
    price_book = PriceBook(PRICES, 10)
    record = price_book.record(4)
    record.counts = [1.0, 0.0, 0.0, 0.0, 1.0]
    record.rates = [AcceptanceRate(0.0, 1.0)] * 4 + [AcceptanceRate(1.0, 1.0)]
    record.exits = AcceptanceRate(1.0, 2.0)
    head, right = 3.5, 24.5 - 9.5
    assert price_book.exit_gain(4, 1.0, 1) == pytest.approx(right / 2 - head)
    assert price_book.exit_gain(4, 0.5, 1) == pytest.approx((24.5 / 2 - 9.5) / 2 - head)
    policy = Fixed((4,), classifier_runs=1)
    assert price_book.paying_exits(policy, 1.0, 1) == pytest.approx({4: (right / 2 - head) / 2 - 0.25})
    assert price_book.paying_exits(policy, 0.5, 1) == {}
    record.reads = AcceptanceRate(1.0, 2.0)  # the policy runs the head at times also where it goes on
    assert price_book.paying_exits(policy, 1.0, 1) == pytest.approx(
        {4: (right / 2 - head) / 2 - 0.25 - head / 4}
    )


def test_an_exits_confidence_is_judged_by_its_class() -> None:
    record = PriceBook(PRICES, 10).record(4)
    rates = [record.rate_of(confidence) for confidence in (0.1, 0.3, 0.6, 0.7, 0.95)]
    assert [id(rate) for rate in rates] == [id(rate) for rate in record.rates]
    chances = [rate.chance for rate in rates]
    assert chances == sorted(chances)

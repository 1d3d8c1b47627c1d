"""Prompt lookup, against a search through the whole text."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from green_code.decoding.draft import AcceptanceRate
from green_code.decoding.ngram_table import NgramTable
from green_code.decoding.prompt_lookup import LENGTHS, NgramIndex, PromptLookup
from green_code.models.tiny import TinySource
from green_code.models.vocabulary import Vocabulary
from tests.decoding.ngram_tables import columns

VOCABULARY = Vocabulary(*TinySource().vocabulary(None))
LAYERS = 6


def new_lookup(document: Sequence[int] = (), table: NgramTable | None = None) -> PromptLookup:
    lookup = PromptLookup(VOCABULARY, LAYERS, table)
    lookup.document.follow(document)
    return lookup


def drafted(lookup: PromptLookup, context: Sequence[int], required: bytes = b"") -> int | None:
    """The drafted token, or None."""
    draft = lookup.draft(context, required)
    return None if draft is None else draft.token


def brute_force(text: Sequence[int], ngram: Sequence[int]) -> list[int]:
    """What followed the latest four occurrences of `ngram`, by comparing at every place."""
    n = len(ngram)
    continuations = [text[i + n] for i in range(len(text) - n) if list(text[i : i + n]) == list(ngram)]
    return continuations[::-1][:4]


SMALL = st.lists(st.integers(0, 2), max_size=14)  # so few different tokens that n-grams occur again
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("extend"), SMALL),
        st.tuples(st.just("truncate"), st.integers(0, 30)),
        st.tuples(st.just("follow"), SMALL),
        st.tuples(st.just("drop beginning"), st.integers(0, 20)),
    ),
    max_size=12,
)


@given(STEPS, st.lists(st.integers(0, 2), min_size=8, max_size=8))
def test_the_index_finds_what_a_search_finds(steps: list[tuple[str, object]], sought: list[int]) -> None:
    index, text = NgramIndex(), list[int]()
    for name, value in steps:
        if name == "drop beginning":  # and two tokens are added at the end
            text = [*text[value:], 0, 1]  # type: ignore[misc]
            index.follow(text)
        else:
            getattr(index, name)(value)
            kept = text[:value] if isinstance(value, int) else text if name == "extend" else []
            text = kept if isinstance(value, int) else [*kept, *value]  # type: ignore[misc]
        assert index.tokens == text
        assert len(index) == len(text)
        for context in (sought, text):
            for n in LENGTHS:
                if len(context) >= n:
                    ngram = context[-n:]
                    assert index.continuations(ngram) == brute_force(text, ngram)


def test_a_text_that_loses_its_beginning_is_not_indexed_again(monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert sum(extended) < 8000  # 200,000 with a new index for each
    assert index.memory_bytes < 2 * 1000 * 470


def test_tokens_that_were_edited_away_are_not_drafted() -> None:
    lookup = new_lookup([1, 2, 3, 4, 5])
    assert drafted(lookup, [2, 3]) == 4
    lookup.document.follow([1, 2, 3, 9])
    assert drafted(lookup, [2, 3]) == 9
    assert drafted(lookup, [4]) is None
    lookup.around([7, 8], [2, 3, 6])
    lookup.around([], [5])
    assert drafted(lookup, [7]) is None
    assert drafted(lookup, [6]) is None


def test_the_longest_ngram_gives_the_draft_and_then_the_latest() -> None:
    lookup = new_lookup([10, 11, 12, 13, 50, 12, 13, 51, 13, 52])
    assert drafted(lookup, [10, 11, 12, 13]) == 50  # by three tokens: n-grams of four are not looked up
    assert drafted(lookup, [99, 12, 13]) == 51
    assert drafted(lookup, [99, 13]) == 52
    assert drafted(lookup, [99]) is None
    lookup.around(earlier=[13, 60], after=[13, 61, 62])
    assert drafted(lookup, [99, 13]) == 52
    assert drafted(lookup, [61]) == 62
    lookup.remember([12, 13], [70, 71])
    assert drafted(lookup, [99, 13]) == 70  # the latest completion comes before the document
    assert drafted(lookup, [71]) is None  # nothing followed it


def test_the_context_of_a_completion_counts_once() -> None:
    """However many completions come after it: the document has it already."""
    lookup = new_lookup([20, 1, 5, 21, 22])
    once = lookup.draft([99, 1], b"")
    for _ in range(5):
        lookup.remember([20, 1, 5, 21, 22], [60, 61])
    again = lookup.draft([99, 1], b"")
    assert once is not None and again is not None and again.rate is once.rate
    assert drafted(lookup, [21, 22]) == 60


def test_completions_are_not_joined_and_the_oldest_are_dropped() -> None:
    lookup = new_lookup()
    for i in range(250):
        lookup.remember([300 + i % 50], [i, 5, 6])
    assert drafted(lookup, [249, 5]) == 6
    assert drafted(lookup, [0, 5]) == 6  # by the 5 alone
    assert drafted(lookup, [0]) is None
    assert drafted(lookup, [5, 6]) is None


def test_a_token_without_the_required_bytes_is_not_drafted() -> None:
    word, other = VOCABULARY.token_bytes.index(b"return"), VOCABULARY.token_bytes.index(b"self")
    lookup = new_lookup([40, word, 40, 1, 40, other])
    assert drafted(lookup, [40]) == other
    assert drafted(lookup, [40], b"ret") == word
    assert drafted(lookup, [40], b"return x") == word
    assert drafted(lookup, [40], b"y") is None


@pytest.mark.parametrize(
    ("document", "chance"),
    [
        ([1, 5, 1, 6], 0.19),  # the two latest differ
        ([1, 5], 0.30),
        ([1, 5, 1, 5], 0.57),
        ([1, 5] * 4, 0.85),
        ([1, 6] + [1, 5] * 3, 0.57),
    ],
)
def test_the_acceptance_rate_depends_on_whether_the_occurrences_agree(document: list[int], chance: float) -> None:
    draft = new_lookup([*document, 90]).draft([99, 1], b"")
    assert draft is not None
    assert draft.rate.chance == pytest.approx(chance, abs=0.1)  # priors change when they are measured again


def test_an_acceptance_rate_moves_from_its_prior_to_what_is_observed() -> None:
    rate = AcceptanceRate.prior(0.5, 8)
    for accepted in (True, False, True, True):
        rate.observe(accepted)
    assert rate.chance == pytest.approx((4 + 3) / (8 + 4))


def test_the_draft_with_the_higher_acceptance_rate_is_taken() -> None:
    table = NgramTable(**columns({(40,): (41, 1.0), (50,): (51, 1.0), (60,): (61, 0.35)}))
    lookup = new_lookup([40, 70, 60, 71, 60, 71, 60, 71, 60, 71, 99], table)
    assert drafted(lookup, [98, 40]) == 41  # the corpus', as the document has 40 once
    assert drafted(lookup, [98, 50]) == 51  # the corpus', as the document has no 50
    assert drafted(lookup, [98, 60]) == 71  # the document's, four times
    assert drafted(lookup, [98, 50], b"\xff") is None

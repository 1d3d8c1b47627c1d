"""The price book: which drafts are expected to pay, against sums by hand."""

from __future__ import annotations

import pytest

from green_code.decoding.draft import AcceptanceRate
from green_code.decoding.exit_policies import Fixed
from green_code.decoding.price_book import PassPrice, PriceBook
from green_code.work import Prices

LAYERS = 10
PRICES = Prices(2.0, 0.1, 0.2, head_batch=3.0, head_position=0.5, decision=0.25)


def test_the_price_of_a_pass() -> None:
    full_pass = PassPrice(PRICES, LAYERS)
    assert [full_pass.row(before) for before in (0, 3, 4, 9)] == pytest.approx([1.5, 1.5, 2.5, 2.5])
    pending = [9 * positions + 1 for positions in (1, 4, 6)]  # the last layer runs over one of them
    assert [full_pass.with_pending(each) for each in pending] == pytest.approx([24.5, 27.2, 30.8])
    assert full_pass.whole == pytest.approx(10 * 2 + 3 + 1.5)


def test_the_gain_and_the_price_of_a_draft() -> None:
    price_book = PriceBook(PRICES, LAYERS)
    assert price_book.full_pass.gain(0.5, 2.0) == pytest.approx(24.5 / 2 - 2)
    assert [price_book.exit_price(4, before) for before in (1, 4)] == pytest.approx([9.5, 10.5])


def test_the_expected_gain_of_an_exit() -> None:
    """Half of its tokens are confident and right, the other half neither."""
    price_book = PriceBook(PRICES, LAYERS)
    record = price_book.record(4)
    record.counts = [1.0, 0.0, 0.0, 0.0, 1.0]
    record.rates = [AcceptanceRate(0.0, 1.0)] * 4 + [AcceptanceRate(1.0, 1.0)]
    record.exits = AcceptanceRate(1.0, 2.0)
    head, accepted = 3.5, 24.5 - 9.5
    assert price_book.exit_gain(4, 1.0, 1) == pytest.approx(accepted / 2 - head)
    assert price_book.exit_gain(4, 0.5, 1) == pytest.approx((24.5 / 2 - 9.5) / 2 - head)
    policy = Fixed((4,), classifier_runs=1)
    assert price_book.paying_exits(policy, 1.0, 1) == pytest.approx({4: (accepted / 2 - head) / 2 - 0.25})
    assert price_book.paying_exits(policy, 0.5, 1) == {}
    record.reads = AcceptanceRate(1.0, 2.0)  # the policy runs the head at times also where it continues
    assert price_book.paying_exits(policy, 1.0, 1) == pytest.approx({4: (accepted / 2 - head) / 2 - 0.25 - head / 4})


def test_each_class_of_confidence_has_its_acceptance_rate() -> None:
    record = PriceBook(PRICES, LAYERS).record(4)
    rates = [record.rate_of(confidence) for confidence in (0.1, 0.3, 0.6, 0.7, 0.95)]
    assert [id(rate) for rate in rates] == [id(rate) for rate in record.rates]
    chances = [rate.chance for rate in rates]
    assert chances == sorted(chances)

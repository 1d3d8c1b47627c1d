"""Work and its price, against sums by hand."""

from __future__ import annotations

import pytest

from green_code.work import Prices, Work, full_depth_work


def test_the_price_of_work() -> None:
    prices = Prices(0.5, 0.005, 0.02, head_batch=0.3, head_position=0.04, decision=0.1, kv_only=0.001)
    work = Work(2, 7, 4, head_batches=1, head_positions=2, decisions=4, kv_only=50)
    assert prices.of(work) == pytest.approx(1.0 + 0.02 + 0.06 + 0.3 + 0.08 + 0.4 + 0.05)
    assert prices.of(work + work) == pytest.approx(2 * prices.of(work))
    assert prices.of(work - work) == 0


def test_full_depth_work() -> None:
    """18 layers, 12 new prompt positions, 3 tokens: a pass over 12, with the last layer over one of them, then two over one each."""
    first = Work(18, 17 * 12 + 1, 17 * 4 + 1, head_batches=1, head_positions=1, kv_only=11)
    assert full_depth_work(18, 12, 1, 4) == first
    assert full_depth_work(18, 12, 3, 4) == first + Work(2 * 18, 2 * 18, 2 * 18, 2, 2)
    assert full_depth_work(18, 2, 1, 4).small_batch_positions == 17 * 2 + 1
    assert full_depth_work(18, 1, 1, 4).kv_only == 0
    assert full_depth_work(18, 12, 0, 4) == Work()
    # Of 5 tokens the cache holds 2: their heads and the third token's are read at once, then come two passes.
    assert full_depth_work(18, 0, 5, 4, resumed=2) == Work(2 * 18, 2 * 18, 2 * 18, head_batches=3, head_positions=5)
    assert full_depth_work(18, 0, 2, 4, resumed=4) == Work(head_batches=1, head_positions=2)
